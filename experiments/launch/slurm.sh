#!/bin/sh
# A Slurm job: four machines with eight GPUs, a process for each GPU. JAX finds the others by
# Slurm's variables. The run directory and the data lie where all machines see them.
#
#     sbatch experiments/launch/slurm.sh train --data /shared/photographs --model resnet50 \
#         --batch-size 8192 --workdir /shared/runs/resnet50 --checkpoint-minutes 10
#
#SBATCH --job-name=cnn-jax
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
# Asked to stop two minutes before the end or a preemption, the run saves and exits with 143; the
# same job, queued again, goes on from there.
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -eu
# One lost process ends the others, and the job with them.
srun --kill-on-bad-exit=1 cnn-jax "$@" --distributed --resume
