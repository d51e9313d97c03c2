#!/usr/bin/env bash
# The loader beside torchvision + Pillow's DataLoader, alternating in one run: images a second.
#
#   benches/loader/run.sh PYTHON DATA [ROUNDS [SECONDS]]
#
# PYTHON has requirements.txt installed, DATA is the folder of the packs. Nothing else should run on the machine. With CMake and
# NASM there, FEATURES=turbojpeg measures decoding at a fraction of the size, too.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${1:?usage: run.sh PYTHON DATA [ROUNDS [SECONDS]]}
data=${2:?usage: run.sh PYTHON DATA [ROUNDS [SECONDS]]}
rounds=${3:-3} seconds=${4:-4}
features=${FEATURES-}
cargo build --release -p crossbatch-data ${features:+--features "$features"} --example loader
target=$(cargo metadata --no-deps --format-version 1 | "$python" -c 'import json,sys; print(json.load(sys.stdin)["target_directory"])')
program=$target/release/examples/loader
images=$(mktemp -d)
trap 'rm -rf "$images"' EXIT
"$python" benches/loader/loader.py prepare "$data" "$images"
for round in $(seq "$rounds"); do
  for pack in cub127 cars196_crops grocery81 sop_sample large; do
    for mode in decode train; do
      # One core for one thread: the DataLoader's main process, too.
      for side in "$program $images/$pack $mode" "$python benches/loader/loader.py $mode $images/$pack"; do
        echo "$round $pack $(taskset -c 0 $side 1 "$seconds")"
      done
    done
    if [[ -n $features ]]; then
      echo "$round $pack $(taskset -c 0 "$program" "$images/$pack" scaled 1 "$seconds")"
      echo "$round $pack $("$program" "$images/$pack" scaled 2 "$seconds")"
    fi
    for side in "$program $images/$pack train" "$python benches/loader/loader.py train $images/$pack"; do
      echo "$round $pack $($side 2 "$seconds")"
    done
  done
done
