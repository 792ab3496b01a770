#!/bin/sh
# A Cloud TPU slice: the same command on each of its machines, which find each other. The run
# directory and the data lie where all of them see them, on a mounted disk for instance.
#
#     TPU=my-slice ZONE=europe-west4-a sh experiments/launch/tpu_slice.sh \
#         train --data /mnt/photographs --model resnet50 --batch-size 8192 --workdir /mnt/runs/r50
set -eu
command="cnn-jax"
for argument in "$@"; do
    command="$command '$argument'"
done
gcloud compute tpus tpu-vm ssh "$TPU" --zone "$ZONE" --worker all \
    --command "$command --distributed --resume"
