#!/usr/bin/env bash
# Each operation forward and backward, crossbatch beside PyTorch, alternating in one run on two threads each.
#
#   benches/ops/run.sh PYTHON [ROUNDS [OPERATION]]
#
# PYTHON has requirements.txt installed. Nothing else should run on the machine. Prints a table of minima over the rounds.
# Both sides' backward also pays for the gradient of a product and a sum, which turn the output into a number.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: run.sh PYTHON [ROUNDS [OPERATION]]}
cargo build --release --workspace --example operations
target=$(cargo metadata --no-deps --format-version 1 | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
results=$(mktemp -d)
trap 'rm -r "$results"' EXIT
for _ in $(seq "${2:-3}"); do
  "$target/release/examples/operations" ${3:+"$3"} >> "$results/ours"
  "$python" benches/ops/operations.py ${3:+"$3"} >> "$results/pytorch"
done
"$python" benches/ops/table.py "$results/ours" "$results/pytorch"
