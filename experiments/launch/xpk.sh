#!/bin/bash
# experiments/launch/xpk.sh CLUSTER WORKLOAD IMAGE python experiments/mnist_aux_logits.py --preset paper --out /shared/run
# Runs the command on every host of a TPU slice on Google Kubernetes Engine; a run that was preempted
# (status 75) or lost a host is started again up to ten times and goes on. IMAGE has this repository installed.
# (Not exercised here: needs a cluster.)
set -euo pipefail
cluster=$1 workload=$2 image=$3
shift 3
command=$(printf '%q ' "$@")
exec xpk workload create --cluster "$cluster" --workload "$workload" --docker-image "$image" \
  --tpu-type "${TPU_TYPE:-v5litepod-16}" --max-restarts 10 --command "$command"
