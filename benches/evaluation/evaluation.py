"""Exact evaluation beside faiss and pytorch-metric-learning, on the same vectors in one run.

usage: evaluation.py PROGRAM [--threads 2] [--rows 60500] [--dims 128,512] [--spread 1.6] [--rounds 3] [--curve 10000,...]

PROGRAM is the built example `evaluation` of crossbatch-retrieval; it makes the vectors (classes of five around random
centres) and writes them for the peers. Every side computes R@1/10/100/1000, P@1, R-precision and MAP@R, faiss from its
neighbours, pytorch-metric-learning without R@K (its calculator has none; k is the
largest class). Values are compared; the fastest of the rounds counts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

CUTS = (1, 10, 100, 1000)
# Rounding of similarities in f32 can exchange neighbours that are nearly tied.
TOLERANCE = 1e-4
# Where the curve stands in docs/benchmarks.md.
BEGIN, END = "<!-- evaluation curve: begin -->", "<!-- evaluation curve: end -->"


def metrics(neighbours, labels, positives):
    """All metrics from `[N, K]` neighbours, the query itself taken out."""
    hits = labels[neighbours] == labels[:, None]
    width = hits.shape[1]
    found = {f"recall_at_{k}": hits[:, :k].any(1).mean() for k in CUTS if k <= width}
    found["precision_at_1"] = hits[:, 0].mean()
    first = hits[:, :positives]
    found["r_precision"] = first.mean()
    ranks = np.arange(1, positives + 1)
    found["map_at_r"] = (first * first.cumsum(1) / ranks).sum(1).mean() / positives
    return {name: float(value) for name, value in found.items()}


def with_faiss(vectors, labels, k):
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    _, neighbours = index.search(vectors, k)
    rows = np.arange(len(vectors))[:, None]
    own = neighbours == rows
    # A query that its k nearest do not hold (duplicates) loses its last neighbour instead.
    own[~own.any(1), -1] = True
    return metrics(neighbours[~own].reshape(len(vectors), k - 1), labels, 4)


def with_metric_learning(vectors, labels, _):
    wanted = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    calculator = AccuracyCalculator(include=wanted, k="max_bin_count", device=torch.device("cpu"))
    found = calculator.get_accuracy(torch.from_numpy(vectors), torch.from_numpy(labels))
    names = {"mean_average_precision_at_r": "map_at_r"}
    return {names.get(name, name): float(value) for name, value in found.items()}


def ours(program, rows, dim, spread, *more):
    command = [program, rows, dim, "--spread", spread, *more]
    return json.loads(subprocess.run([str(part) for part in command], check=True, capture_output=True).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rows", type=int, default=60_500)
    parser.add_argument("--dims", default="128,512")
    parser.add_argument("--spread", type=float, default=1.6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--curve", default="", help="numbers of rows x 128 to time crossbatch alone with; the table goes into docs/benchmarks.md")
    args = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    faiss.omp_set_num_threads(args.threads)
    torch.set_num_threads(args.threads)
    peers = {
        "faiss, k = 1,001": (with_faiss, min(1001, args.rows)),
        "faiss, k = 6": (with_faiss, 6),
        "pytorch-metric-learning": (with_metric_learning, None),
    }
    labels = np.arange(args.rows) // 5
    failed = False
    for dim in map(int, filter(None, args.dims.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vectors"
            ours(args.program, args.rows, dim, args.spread, "--save", path)
            vectors = np.fromfile(path, dtype="<f4").reshape(args.rows, dim)
            times = {name: [] for name in ["crossbatch", *peers]}
            values = {}
            for _ in range(args.rounds):
                found = ours(args.program, args.rows, dim, args.spread)
                times["crossbatch"] += found["seconds"]
                values["crossbatch"] = found
                for name, (run, k) in peers.items():
                    start = time.perf_counter()
                    values[name] = run(vectors, labels, k)
                    times[name].append(time.perf_counter() - start)
        best = {name: min(seconds) for name, seconds in times.items()}
        print(f"{args.rows} x {dim}, spread {args.spread}, {args.threads} threads")
        for name, seconds in best.items():
            differences = [abs(value - values["crossbatch"][key]) for key, value in values[name].items()
                           if key in values["crossbatch"] and key != "seconds"]
            line = f"  {name:26} {seconds:8.3f} s {seconds / best['crossbatch']:7.2f}x"
            if name != "crossbatch":
                line += f"   values differ by {max(differences):.1e}"
                if not max(differences) <= TOLERANCE:
                    line, failed = line + "  TOO FAR", True
            print(line, flush=True)
        shown = {key: round(value, 4) for key, value in values["crossbatch"].items() if "_" in key and "bytes" not in key}
        print(f"  {shown}; {values['crossbatch']['extra_bytes'] / 1e6:.0f} MB beyond the vectors")
    curve(args)
    sys.exit(failed)


def curve(args):
    """Times crossbatch alone for growing numbers of rows, and puts the table at its place in docs/benchmarks.md."""
    lines = ["| rows x 128, a set with itself | seconds | billion pairs a second | most memory of the process |", "|---|---|---|---|"]
    sizes = [int(rows) for rows in filter(None, args.curve.split(","))]
    for rows in sizes:
        found = ours(args.program, rows, 128, args.spread)
        seconds, peak = found["seconds"][0], found["peak_bytes"] / 2**20
        print(f"{rows} x 128: {seconds:.2f} s, process peak {peak:.0f} MiB", flush=True)
        lines.append(f"| {rows:,} | {seconds:.1f} | {rows * rows / seconds / 1e9:.2f} | {peak:,.0f} MiB |")
    if sizes:
        page = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
        text = page.read_text()
        before, found_begin, rest = text.partition(BEGIN)
        _, found_end, after = rest.partition(END)
        if not (found_begin and found_end):
            sys.exit(f"{page} has no place for the curve: it needs the lines {BEGIN} and {END}")
        head = f"Of crossbatch alone, {args.threads} threads, spread {args.spread} (one call each):"
        page.write_text("\n".join([before + BEGIN, "", head, "", *lines, "", END + after]))
        print(f"written into {page}")


if __name__ == "__main__":
    main()
