#!/usr/bin/env bash
# The memory's part of a training step, crossbatch beside PyTorch, alternating in one run on two threads.
#
#   benches/memory_step/run.sh PYTHON [OPTIONS of memory_step.py, such as --bank RUN/checkpoint.safetensors]
#
# PYTHON has requirements.txt installed. Nothing else should run on the machine. Needs 8 GB of memory.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
python=${1:?usage: run.sh PYTHON [OPTIONS]}
shift
cargo build --release --workspace --manifest-path "$folder/../../Cargo.toml"
program=$(cargo metadata --no-deps --format-version 1 --manifest-path "$folder/../../Cargo.toml" \
  | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/crossbatch
export OMP_NUM_THREADS=2
"$python" "$folder/memory_step.py" "$program" --threads 2 "$@"
