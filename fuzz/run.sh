#!/usr/bin/env bash
# Fuzzes the readers of crossbatch-data: bash fuzz/run.sh [SECONDS a target, 120]
#
# With a nightly toolchain and a C++ compiler by libFuzzer, which follows coverage; `cargo fuzz run TARGET` works too. Otherwise
# by crates/crossbatch-data/tests/mutations.rs, which spoils files at random, on any toolchain. Both start from genuine files
# where the shared data are (CROSSBATCH_DATA or ../shared/data). `STABLE=1 bash fuzz/run.sh` takes the second way.
set -euo pipefail
cd "$(dirname "$0")"
seconds="${1:-120}"
if [ -n "${STABLE-}" ] || ! cargo +nightly --version >/dev/null 2>&1 || ! command -v c++ >/dev/null; then
  echo "random faults, no coverage: no nightly toolchain or no C++ compiler, or STABLE is set"
  [ -d /dev/shm ] && export TMPDIR=/dev/shm
  CROSSBATCH_FUZZ_SECONDS="$seconds" cargo test -p crossbatch-data --test main mutations -- --nocapture --test-threads=1
  exit
fi
data="${CROSSBATCH_DATA:-../../shared/data}"

seed() { # TARGET NAME FIRST-BYTE FILE BYTES
  mkdir -p "corpus/$1"
  if [ -e "$4" ]; then { printf "$3"; head -c "$5" "$4"; } >"corpus/$1/$2"; fi
}
formats="$data/formats"
seed lists list '\000' "$data/cub127/train.txt" 600
seed lists sop '\003' "$formats/sop/Ebay_train_first_rows.txt" 600
seed lists inshop '\004' "$formats/inshop/list_eval_partition_excerpt.txt" 600
seed lists vehicleid '\005' "$formats/vehicleid/train_list_excerpt.txt" 400
seed lists cub '\006' "$formats/cub200_2011/images.txt" 600
seed lists labels '\007' "$formats/cub200_2011/image_class_labels.txt" 200
printf '\011path,label,split,camera\na.png,1,train,0\nb.png,2,query,1\nc.png,2,gallery,2\n' >corpus/lists/columns
seed annotations meta '' "$formats/cars196/cars_meta.mat" 1000000
seed annotations sample '' "$formats/cars196/cars_annos_MADE_UP_sample.mat" 1000000
python3 - <<'PYTHON'
"""Small archives of every form, and an annotation file without compression."""
import io, os, struct, tarfile, zipfile, zlib

png = lambda: b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    for kind, body in [
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"\0\1\2" * 2)),
        (b"IEND", b""),
    ]
)
names = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"]
os.makedirs("corpus/archives", exist_ok=True)
for choice, mode in [(1, "w"), (2, "w:gz")]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(png())
            tar.addfile(info, io.BytesIO(png()))
    open(f"corpus/archives/{choice}", "wb").write(bytes([choice]) + out.getvalue())
out = io.BytesIO()
with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
    for name in names:
        archive.writestr(name, png())
open("corpus/archives/0", "wb").write(b"\0" + out.getvalue())

element = lambda kind, data: struct.pack("<II", kind, len(data)) + data + b"\0" * (-len(data) % 8)
def array(cls, dims, name, *rest):
    head = element(6, struct.pack("<II", cls, 0)) + element(5, struct.pack(f"<{len(dims)}i", *dims))
    return element(14, head + element(1, name) + b"".join(rest))
number = lambda value: array(9, (1, 1), b"", element(2, bytes([value])))
fields = [b"fname", b"bbox_x1", b"bbox_y1", b"bbox_x2", b"bbox_y2", b"class"]
record = lambda label: [array(4, (1, 5), b"", element(16, b"1.jpg")), *(number(n) for n in (1, 1, 5, 5, label))]
struct_ = array(2, (1, 2), b"annotations", element(5, struct.pack("<i", 8)),
                element(1, b"".join(name.ljust(8, b"\0") for name in fields)), *record(1), *record(99))
header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
os.makedirs("corpus/annotations", exist_ok=True)
open("corpus/annotations/plain", "wb").write(header + struct_)
PYTHON

# The flags that `cargo fuzz` gives, without a sanitizer: safe code has no use for one.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
target=x86_64-unknown-linux-gnu
cargo +nightly build --release --target "$target"
# Folders in memory: every input is a file.
[ -d /dev/shm ] && export TMPDIR=/dev/shm
for name in lists annotations archives; do
  mkdir -p "artifacts/$name"
  limit=$([ "$name" = lists ] && echo 2000 || echo 60000)
  "target/$target/release/$name" "corpus/$name" -artifact_prefix="artifacts/$name/" -max_total_time="$seconds" \
    -max_len="$limit" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 2>&1 | grep -E "^(#.*(INITED|DONE)|stat::|==|SUMMARY|thread|artifact)|panicked" || true
  ls "artifacts/$name"
done
