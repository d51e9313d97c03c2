"""A gallery larger than the memory that is allowed: how fast `crossbatch search` and `crossbatch eval` read it.

usage: streaming.py PROGRAM [--threads 2] [--rows 4000000] [--queries 16,1000] [--budget 512MiB] [--rounds 3] [--folder DIR]

PROGRAM is the built `crossbatch`. A file of random unit vectors x 128 is searched with and without a budget, and read by
Python alone: from the page cache ("warm") and after the system was asked to forget the file ("cold"). Then one call of
`eval` on a file that is searched with itself, both ways. The fastest of the rounds counts; needs 6 GB of memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIM = 128


def write(path, rows, seed, labels=None):
    """Unit vectors, a block at a time."""
    random = np.random.default_rng(seed)
    out = np.lib.format.open_memmap(path, "w+", np.float32, (rows, DIM))
    centres = None if labels is None else random.standard_normal((labels.max() + 1, DIM), np.float32)
    for start in range(0, rows, 1 << 16):
        block = random.standard_normal((min(1 << 16, rows - start), DIM), np.float32)
        if centres is not None:
            block = centres[labels[start : start + len(block)]] + 1.6 * block
        out[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    out.flush()


def forget(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path):
    """Reads a file and keeps nothing."""
    block = bytearray(8 << 20)
    with open(path, "rb", buffering=0) as file:
        while file.readinto(block):
            pass


def timed(work, before):
    before()
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--queries", default="16,1000")
    parser.add_argument("--own", type=int, default=250_000, help="rows of the file that `eval` searches with itself")
    parser.add_argument("--budget", default="512MiB")
    parser.add_argument("--rounds", type=int, default=3)
    # Never the working directory: what a killed run leaves would lie among the sources.
    parser.add_argument("--folder", help="where its files of 2 GB go, on a disk [default: the system's for temporary files]")
    args = parser.parse_args()

    def run(*parts):
        command = [args.program, *map(str, parts), "--threads", str(args.threads), "--format", "json", "--quiet"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        gallery, query = Path(folder) / "gallery.npy", Path(folder) / "query.npy"
        write(gallery, args.rows, 0)
        size = gallery.stat().st_size / 1e9
        nothing, cold = (lambda: None), (lambda: forget(gallery))
        print(f"{args.rows} x {DIM}, {size:.2f} GB, {args.threads} threads, budget {args.budget}; seconds (GB/s)")
        for name, before in [("warm", nothing), ("cold", cold)]:
            seconds = min(timed(lambda: read(gallery), before)[0] for _ in range(args.rounds))
            print(f"  read alone, {name:18} {seconds:7.2f} ({size / seconds:.2f})", flush=True)
        for count in map(int, args.queries.split(",")):
            write(query, count, 1)
            search = ["search", "--gallery", gallery, "--query", query, "--top", 10]
            kinds = {
                "in memory, warm": (search + ["--memory-budget", "16GiB"], nothing),
                "in blocks, warm": (search + ["--memory-budget", args.budget], nothing),
                "in blocks, cold": (search + ["--memory-budget", args.budget], cold),
            }
            answers = set()
            for name, (command, before) in kinds.items():
                rounds = [timed(lambda: run(*command), before) for _ in range(args.rounds)]
                seconds = min(seconds for seconds, _ in rounds)
                answers.update(answer for _, answer in rounds)
                print(f"  {count:6} queries, {name:15} {seconds:7.2f} ({size / seconds:.2f})", flush=True)
            if len(answers) != 1:
                sys.exit("the answers differ")
        labels = np.arange(args.own) // 5
        write(gallery, args.own, 2, labels)
        np.save(Path(folder) / "labels.npy", labels)
        measure = ["eval", "--embeddings", gallery, "--labels", Path(folder) / "labels.npy", "--memory-budget"]
        found = {}
        for budget in ("16GiB", "128MiB"):
            seconds, text = timed(lambda: run(*measure, budget), nothing)
            found[budget] = {k: v for k, v in json.loads(text).items() if not k.endswith("seconds")}
            print(f"  eval of {args.own} rows with themselves, budget {budget}: {seconds:.1f} s", flush=True)
        if found["16GiB"] != found["128MiB"]:
            sys.exit("the metrics differ")


if __name__ == "__main__":
    main()
