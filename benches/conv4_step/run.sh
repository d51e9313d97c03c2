#!/usr/bin/env bash
# Conv-4 training step, crossbatch and Burn beside PyTorch, alternating in one run on two threads.
#
#   benches/conv4_step/run.sh PYTHON [ROUNDS]
#
# PYTHON has requirements.txt installed. Nothing else should run on the machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: run.sh PYTHON [ROUNDS]}
cargo build --release --workspace --example conv4_step
program=$(cargo metadata --no-deps --format-version 1 | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/examples/conv4_step
export RAYON_NUM_THREADS=2
for round in $(seq "${2:-3}"); do
  echo "round $round"
  "$program" 2 ours
  "$python" benches/conv4_step/conv4_step.py eager 2 2
  "$python" benches/conv4_step/conv4_step.py channels_last 2 2
  "$program" 2 burn
done
