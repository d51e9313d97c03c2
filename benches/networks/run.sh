#!/usr/bin/env bash
# Training steps and inference of whole networks beside PyTorch (eager and channels_last), in turns, on two threads.
#
#   benches/networks/run.sh PYTHON [--rounds N] [--only NAME] [--write docs/benchmarks.md]
#
# PYTHON has requirements.txt installed. Nothing else should run on the machine.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: run.sh PYTHON [OPTIONS of run.py]}
shift
cargo build --release
program=$(cargo metadata --no-deps --format-version 1 | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')/release/crossbatch
"$python" benches/networks/run.py "$program" "$@"
