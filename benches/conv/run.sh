#!/usr/bin/env bash
# The convolutions of eight networks, layer by layer, crossbatch beside PyTorch, alternating in one run on two threads.
#
#   benches/conv/run.sh PYTHON [ROUNDS] [SECONDS] [MACHINE]
#
# PYTHON has requirements.txt installed; MACHINE is what the page says above the tables. Writes docs/benchmarks.md.
# Nothing else should run on the machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: run.sh PYTHON [ROUNDS] [SECONDS] [MACHINE]}
seconds=${3:-0.1}
cargo build --release --package crossbatch-math --example conv
program=$(cargo metadata --no-deps --format-version 1 | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/examples/conv
export RAYON_NUM_THREADS=2
lines=$(mktemp)
trap 'rm -f "$lines"' EXIT
networks=$(tail -n +2 benches/conv/layers.csv | cut -d, -f1 | uniq)
for round in $(seq "${2:-3}"); do
  for network in $networks; do
    echo "round $round, $network" >&2
    "$program" benches/conv/layers.csv "$network" "$seconds" >>"$lines"
    for layout in eager channels_last; do
      "$python" benches/conv/conv.py "$network" "$layout" 2 "$seconds" >>"$lines"
    done
  done
done
"$python" benches/conv/table.py "$lines" docs/benchmarks.md "${4:-This machine, two threads}"
