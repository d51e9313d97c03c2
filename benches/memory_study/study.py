#!/usr/bin/env python3
"""When does the memory win? Batch 16 and 64 on Omniglot, with and without memory, equal numbers of trials.

Each side tries the same number of settings with seed 0 and keeps the one with the highest R@1 on validation classes (a
tenth of the training classes); the test classes choose nothing. The two winners are then trained with seeds 0, 1 and 2
and measured on the test classes.

    benches/memory_study/study.py --data DIR [--crossbatch target/release/crossbatch] [--out DIR] [--jobs 2]

Needs only Python's standard library. Finished runs in --out are not repeated, so that a study can be continued.
"""

import argparse
import concurrent.futures
import json
import pathlib
import statistics
import subprocess
import sys

# Every trial is the recipe with these keys.
COMMON = {
    "steps": 1000,
    "threads": 1,
    "compare-without-memory": "false",
    "data.validation": 0.1,
    "evaluation.every": 0,
    "evaluation.raw": "false",
    "optimizer.schedule": "cosine",
}

# Ten trials a side: six in common, and four that only this side has a use for.
SHARED = [
    {"loss.reduction": reduction, "optimizer.lr": lr}
    for reduction in ("sum", "pair-mean", "anchor-mean")
    for lr in (3e-4, 1e-3)
]
WITHOUT = [
    {"loss.reduction": "sum", "optimizer.lr": 1e-4},
    {"loss.reduction": "sum", "optimizer.lr": 3e-4, "loss.margin": 0.4},
    {"loss.reduction": "sum", "optimizer.lr": 3e-4, "loss.margin": 0.6},
    {"loss.reduction": "pair-mean", "optimizer.lr": 3e-4, "loss.margin": 0.4},
]
MEMORY = {"memory.size": 9640, "memory.start": 200, "memory.weight": 1.0}
WITH = [
    {"loss.reduction": "pair-mean", "optimizer.lr": 3e-4, "memory.start": 500},
    {"loss.reduction": "pair-mean", "optimizer.lr": 3e-4, "memory.weight": 0.3},
    {"loss.reduction": "pair-mean", "optimizer.lr": 3e-4, "memory.correction": "kalman"},
    {"loss.reduction": "sum", "optimizer.lr": 3e-4, "memory.weight": 0.03, "memory.ramp": 300},
]

BATCHES = {16: {"batch.classes": 4, "batch.images": 4}, 64: {"batch.classes": 16, "batch.images": 4}}


def name(settings):
    short = [f"{key.split('.')[-1]}={value}" for key, value in sorted(settings.items())]
    return " ".join(short)


def run(options, batch, side, settings, seed):
    """Trains one setting and returns its measurements."""
    keys = {**COMMON, **BATCHES[batch], **(MEMORY if side == "with" else {"memory.size": 0}), **settings}
    keys["seed"] = seed
    folder = options.out / f"{batch}-{side}-{name(settings).replace(' ', '_').replace('%', '')}-{seed}"
    summary = folder / "summary.json"
    if not summary.exists():
        command = [options.crossbatch, "train", options.recipe, "--data", options.data, "--out", folder]
        for key, value in keys.items():
            command += ["--set", f"{key}={value}"]
        if folder.exists():
            command = [options.crossbatch, "train", "--resume", folder]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    numbers = json.loads(summary.read_text())
    validation = None
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        if record.get("split") == "validation":
            validation = record["metrics"]
    trained = numbers["trained"] if "trained" in numbers else numbers["metrics"]["trained"]
    return {
        "batch": batch,
        "side": side,
        "settings": settings,
        "seed": seed,
        "validation": 100 * validation["recall_at_1"],
        "test": 100 * trained["recall_at_1"],
        "map": 100 * trained["map_at_r"],
        "seconds": numbers["train_seconds"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--crossbatch", default="target/release/crossbatch")
    parser.add_argument("--recipe", default="recipes/omniglot.toml")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/memory-study"))
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--batches", type=int, nargs="+", default=[16, 64])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        trials = [
            pool.submit(run, options, batch, side, settings, 0)
            for batch in options.batches
            for side, own in (("without", WITHOUT), ("with", WITH))
            for settings in SHARED + own
        ]
        trials = [trial.result() for trial in trials]
        finals = []
        for batch in options.batches:
            for side in ("without", "with"):
                mine = [t for t in trials if (t["batch"], t["side"]) == (batch, side)]
                best = max(mine, key=lambda trial: trial["validation"])
                finals += [pool.submit(run, options, batch, side, best["settings"], seed) for seed in (0, 1, 2)]
        finals = [final.result() for final in finals]

    for batch in options.batches:
        print(f"\n### Batch {batch}\n\n| memory | setting | validation R@1 | test R@1 | s |\n|---|---|---|---|---|")
        for side in ("without", "with"):
            mine = [t for t in trials if (t["batch"], t["side"]) == (batch, side)]
            for t in sorted(mine, key=lambda trial: -trial["validation"]):
                print(f"| {side} | {name(t['settings'])} | {t['validation']:.2f} | {t['test']:.2f} | {t['seconds']:.0f} |")
    print("\n### Winners, seeds 0 to 2\n\n| batch | memory | setting | R@1 | range | MAP@R |\n|---|---|---|---|---|---|")
    for batch in options.batches:
        for side in ("without", "with"):
            mine = [f for f in finals if (f["batch"], f["side"]) == (batch, side)]
            tests = [f["test"] for f in mine]
            maps = statistics.mean(f["map"] for f in mine)
            print(
                f"| {batch} | {side} | {name(mine[0]['settings'])} | {statistics.mean(tests):.2f} "
                f"| {min(tests):.2f} to {max(tests):.2f} | {maps:.2f} |"
            )
    (options.out / "study.json").write_text(json.dumps({"trials": trials, "finals": finals}, indent=1))


if __name__ == "__main__":
    main()
