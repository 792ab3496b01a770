#!/bin/sh
# Two processes on one machine that train one run, as two machines would: to try it out.
#
#     sh experiments/launch/two_processes.sh train --workdir runs/two --resume
#
# Of several GPUs the first process takes the first, the second the second. Set PORT where 12345 is
# taken. The exit code is that of a process that failed, or 0.
set -eu
pids=
for process in 0 1; do
    CUDA_VISIBLE_DEVICES=$process cnn-jax "$@" \
        --coordinator "localhost:${PORT:-12345}" --processes 2 --process "$process" &
    pids="$pids $!"
done
status=0
for pid in $pids; do
    wait "$pid" || status=$?
done
exit "$status"
