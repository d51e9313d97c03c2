#!/usr/bin/env bash
# k-means, NMI and AMI beside faiss and scikit-learn, on as many threads each (--threads, default 2).
#   benches/clustering/run.sh PYTHON [options of clustering.py]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="${1:?usage: run.sh PYTHON [options]}"
shift
cd "$here/../.."
cargo build --release -p crossbatch-retrieval --example cluster
# The OpenBLAS in faiss' wheel takes its slowest kernels on processors that it does not know, several times slower.
if [[ -z ${OPENBLAS_CORETYPE:-} ]] && grep -q avx512f /proc/cpuinfo 2>/dev/null; then
  export OPENBLAS_CORETYPE=SkylakeX
fi
exec "$python" "$here/clustering.py" "${CARGO_TARGET_DIR:-target}/release/examples/cluster" "$@"
