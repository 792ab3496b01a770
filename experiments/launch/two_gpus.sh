#!/bin/sh
# Two GPUs of one machine. One process drives both, and the batch is split over them:
#
#     sh experiments/launch/two_gpus.sh train --data photographs/ --model resnet50 --batch-size 256
set -eu
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-0,1} exec cnn-jax "$@"
