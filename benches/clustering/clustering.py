"""k-means, NMI and AMI beside faiss and scikit-learn, in turns on the same vectors.

    bash benches/clustering/run.sh venv/bin/python

Clustered unit vectors: class centres drawn at random, each row its centre plus noise, scaled to length one. faiss seeds
with random rows and stops after `niter`; our runs seed with k-means++ and stop by themselves, or after the same number of
iterations (the row with `iterations`). Quality is inertia (lower is better) and agreement with the classes.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score


def vectors(rows, classes, dim, noise, seed):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim))
    labels = np.sort(rng.integers(0, classes, rows)).astype(np.uint32)
    values = centres[labels] + noise * rng.normal(size=(rows, dim))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values.astype(np.float32), labels


def by_faiss(values, labels, clusters, iterations, seed):
    start = time.perf_counter()
    kmeans = faiss.Kmeans(
        values.shape[1], clusters, niter=iterations, seed=seed, min_points_per_centroid=1,
        max_points_per_centroid=10**9,
    )
    kmeans.train(values)
    distances, assigned = kmeans.index.search(values, 1)
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    nmi = normalized_mutual_info_score(labels, assigned[:, 0])
    nmi_seconds = time.perf_counter() - start
    start = time.perf_counter()
    ami = adjusted_mutual_info_score(labels, assigned[:, 0])
    return {
        "k_means_seconds": seconds,
        "nmi_seconds": nmi_seconds,
        "ami_seconds": time.perf_counter() - start,
        "inertia": float(distances.astype(np.float64).sum()),
        "iterations": iterations,
        "empty": clusters - len(np.unique(assigned)),
        "nmi": nmi,
        "ami": ami,
    }


def ours(program, folder, dim, clusters, *rest):
    files = [str(folder / "rows.f32"), str(folder / "labels.u32")]
    arguments = [program, *files, str(dim), str(clusters), *map(str, rest)]
    return json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout)


def limit(threads):
    """The same number of threads for both sides: ours is a child process, faiss is already loaded."""
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    faiss.omp_set_num_threads(threads)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--rows", type=int, default=60_502)
    parser.add_argument("--clusters", type=int, default=11_316)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--noise", type=float, default=0.8)
    parser.add_argument("--iterations", type=int, default=25, help="faiss's default")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    limit(arguments.threads)
    values, labels = vectors(
        arguments.rows, arguments.clusters, arguments.dim, arguments.noise, seed=1
    )
    names = ("faiss + scikit-learn", "crossbatch", f"crossbatch, {arguments.iterations} iterations")
    results = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values.tofile(folder / "rows.f32")
        labels.tofile(folder / "labels.u32")
        for repeat in range(arguments.repeats):
            shape = (arguments.dim, arguments.clusters)
            results[names[1]].append(ours(arguments.program, folder, *shape, 100, repeat))
            results[names[2]].append(
                ours(arguments.program, folder, *shape, arguments.iterations, repeat)
            )
            results[names[0]].append(
                by_faiss(values, labels, arguments.clusters, arguments.iterations, repeat)
            )
    print(f"{arguments.rows} x {arguments.dim}, {arguments.clusters} clusters, "
          f"{arguments.threads} threads; the fastest of {arguments.repeats}, mean quality\n")
    print("| | k-means | NMI | AMI | inertia | iterations | empty | NMI | AMI |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, runs in results.items():
        fastest = [min(run[key] for run in runs) for key in ("k_means_seconds", "nmi_seconds", "ami_seconds")]
        mean = {key: np.mean([run[key] for run in runs]) for key in runs[0]}
        print(f"| {name} | {fastest[0]:.2f} s | {fastest[1]:.3f} s | {fastest[2]:.3f} s "
              f"| {mean['inertia']:.1f} | {mean['iterations']:.0f} | {mean['empty']:.0f} "
              f"| {mean['nmi']:.4f} | {mean['ami']:.4f} |")


if __name__ == "__main__":
    main()
