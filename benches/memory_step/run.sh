#!/usr/bin/env bash
# The memory's part of a training step, crossbatch beside PyTorch, alternating in one run on two threads.
#
#   benches/memory_step/run.sh PYTHON [--omniglot DIR] [OPTIONS of memory_step.py, such as --docs docs/benchmarks.md]
#
# PYTHON has requirements.txt installed; DIR holds Omniglot's two zips: a run on it gives a real memory (--bank gives
# another). Nothing else should run on the machine. Takes a quarter of an hour and 8 GB of memory.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
root=$folder/../..
python=${1:?usage: run.sh PYTHON [--omniglot DIR] [OPTIONS]}
shift
target=$(cargo metadata --no-deps --format-version 1 --manifest-path "$root/Cargo.toml" \
  | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
cargo build --release --workspace --manifest-path "$root/Cargo.toml"
program=$target/release/crossbatch
export OMP_NUM_THREADS=2

bank=()
if [ "${1:-}" = --omniglot ]; then
  run=$target/memory_step/omniglot
  if [ ! -f "$run/summary.json" ]; then
    rm -rf "$run"
    "$program" train "$root/recipes/omniglot.toml" --data "${2:?--omniglot wants a folder}" --out "$run" \
      --set compare-without-memory=false --set evaluation.every=0 --set evaluation.raw=false
  fi
  bank=(--bank "$run/checkpoint.safetensors")
  shift 2
fi
"$python" "$folder/memory_step.py" "$program" --threads 2 --out "$target/memory_step" "${bank[@]}" "$@"
