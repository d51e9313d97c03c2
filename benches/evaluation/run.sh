#!/usr/bin/env bash
# Exact evaluation, crossbatch beside faiss and pytorch-metric-learning, in one run on two threads.
#
#   benches/evaluation/run.sh PYTHON [OPTIONS of evaluation.py, such as --curve 100000,1000000]
#
# PYTHON has requirements.txt installed. Nothing else should run on the machine. Needs 4 GB of memory.
set -euo pipefail
folder=$(cd "$(dirname "$0")" && pwd)
python=${1:?usage: run.sh PYTHON [OPTIONS]}
shift
manifest=$folder/../../Cargo.toml
cargo build --release -p crossbatch-retrieval --example evaluation --manifest-path "$manifest"
target=$(cargo metadata --no-deps --format-version 1 --manifest-path "$manifest" \
  | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
# The OpenBLAS in faiss' wheel takes its slowest kernels on processors that it does not know, several times slower.
if [[ -z ${OPENBLAS_CORETYPE:-} ]] && grep -q avx512f /proc/cpuinfo 2>/dev/null; then
  export OPENBLAS_CORETYPE=SkylakeX
fi
export OMP_NUM_THREADS=2
"$python" "$folder/evaluation.py" "$target/release/examples/evaluation" --threads 2 "$@"
