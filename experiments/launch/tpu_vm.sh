#!/bin/bash
# experiments/launch/tpu_vm.sh NAME ZONE python experiments/mnist_aux_logits.py --preset paper --out /shared/run
# Runs the same command on every host of a Cloud TPU VM, where JAX finds the others by itself; the
# repository is cloned there as ~/sublim_jax and installed with the extra [tpu]; --out is on a shared disk.
# (Not exercised here: needs an account. Plan first, without one: add --plan v5e:4x4 to the command.)
set -euo pipefail
name=$1 zone=$2
shift 2
command=$(printf '%q ' "$@")
exec gcloud compute tpus tpu-vm ssh "$name" --zone "$zone" --worker=all \
  --command "cd sublim_jax && source .venv/bin/activate && $command"
