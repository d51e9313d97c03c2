#!/usr/bin/env bash
# k-means, NMI and AMI beside faiss and scikit-learn, on two threads each.
#   benches/clustering/run.sh PYTHON [options of clustering.py]
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
python="${1:?usage: run.sh PYTHON [options]}"
shift
cd "$here/../.."
cargo build --release -p crossbatch-retrieval --example cluster
export RAYON_NUM_THREADS=2 OMP_NUM_THREADS=2
"$python" "$here/clustering.py" "${CARGO_TARGET_DIR:-target}/release/examples/cluster" "$@"
