#!/usr/bin/env python3
"""Repeats what docs/results.md and the README's table say, and puts the numbers there.

    benches/results/results.py --data DIR [--crossbatch target/release/crossbatch] [--only glyphs omniglot kernels ...]
                               [--grocery DIR] [--python PYTHON] [--out runs/results] [--write]

DIR is Omniglot's folder, --grocery that of the grocery set, --python one with benches/reference_experiment/
requirements.txt; parts whose data are not given are left out aloud. Needs only Python's standard library. Prints each
table; --write puts it between its marks in docs/results.md and README.md. Finished runs in --out are not repeated, so
that a stopped one goes on: give a new --out after a change of the program.
"""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEEDS = (0, 1, 2)
# For speed: the losses' table is of the network as it is after training, and nothing else.
BARE = {"compare-without-memory": "false", "evaluation.every": 0, "evaluation.raw": "false"}


class Runs:
    """Trains, once each, and gives the metrics."""

    def __init__(self, options):
        self.options = options

    def train(self, name, recipe=None, data=None, seed=0, **settings):
        """The metrics in summary.json: `raw`, `untrained`, `without_memory`, `trained`."""
        settings = {key.replace("__", "."): value for key, value in settings.items()}
        folder = self.options.out / f"{name}-{seed}"
        if not (folder / "summary.json").exists():
            command = [self.options.crossbatch, "train", "--quiet", "--seed", seed, "--out", folder]
            command += [ROOT / "recipes" / recipe] if recipe else []
            command += ["--data", data] if data else []
            for key, value in settings.items():
                command += ["--set", f"{key}={value}"]
            if folder.exists():
                command = [self.options.crossbatch, "train", "--quiet", "--resume", folder]
            command = list(map(str, command))
            print("+", " ".join(command), file=sys.stderr, flush=True)
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                sys.exit(done.stderr)
        return json.loads((folder / "summary.json").read_text())["metrics"]

    def lines(self, name, seed):
        text = (self.options.out / f"{name}-{seed}" / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]


def spread(values):
    """`80.7 (80.6–81.0)` of fractions."""
    values = [100 * value for value in values]
    return f"{statistics.mean(values):.1f} ({min(values):.1f}–{max(values):.1f})"


def table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(cells) + " |" for cells in rows])


def quality(named):
    """Rows of R@1 and MAP@R, of metrics of several seeds by name."""
    rows = []
    for name, metrics in named.items():
        of = lambda key: spread([each[key] for each in metrics])
        rows.append([name, of("recall_at_1"), of("map_at_r")])
    return table(["", "R@1", "MAP@R"], rows)


def pick(runs, key):
    return [metrics[key] for metrics in runs]


def four(runs):
    """What a run that compares has measured."""
    return {
        "raw pixels": pick(runs, "raw"),
        "untrained network": pick(runs, "untrained"),
        "trained without memory": pick(runs, "without_memory"),
        "**trained with memory**": pick(runs, "trained"),
    }


def glyphs_runs(runs):
    both = [runs.train("glyphs", seed=seed) for seed in SEEDS]
    off = {"compare-without-memory": "false", "memory.size": 0}
    other = {
        reduction: [runs.train(f"glyphs-{reduction}", seed=seed, **off, loss__reduction=reduction) for seed in SEEDS]
        for reduction in ("sum",)
    }
    return both, other


def glyphs(runs):
    both, other = glyphs_runs(runs)
    rows = four(both)
    last = rows.popitem()
    for reduction, metrics in other.items():
        rows[f'trained without memory, `loss.reduction = "{reduction}"`'] = pick(metrics, "trained")
    return quality(dict([*rows.items(), last]))


def omniglot_runs(runs):
    data = runs.options.data
    return [runs.train("omniglot", recipe="omniglot.toml", data=data, seed=seed) for seed in SEEDS]


def omniglot(runs):
    return quality(four(omniglot_runs(runs)))


def photographs(runs):
    small = {"data.image-size": 48, "steps": 600, "memory.size": "50%", "data.validation": 0}
    found = runs.train("photographs", data=runs.options.grocery, **small)
    one = lambda key: f"{100 * found[key]['recall_at_1']:.1f}", lambda key: f"{100 * found[key]['map_at_r']:.1f}"
    names = {
        "raw pixels": "raw",
        "untrained network": "untrained",
        "trained without memory": "without_memory",
        "trained with memory": "trained",
    }
    return table(["", "R@1", "MAP@R"], [[name, *(of(key) for of in one)] for name, key in names.items()])


def reference(runs):
    """recipes/reference beside PyTorch: the figures to meet are fixed, our script repeats one of them."""
    data = runs.options.data
    ours = {
        name: [runs.train(f"reference-{file}", recipe=f"reference/{file}.toml", data=data, seed=seed) for seed in SEEDS]
        for name, file in (("without", "omniglot"), ("with", "omniglot-memory"))
    }
    row = lambda name, metrics: [name, *(spread([each[key] for each in metrics]) for key in ("recall_at_1", "map_at_r"))]
    rows = [
        ["without memory, PyTorch (the figures to meet)", "78.1 (77.3–78.7)", "42.9 (42.1–44.1)"],
        row("without memory, crossbatch", pick(ours["without"], "trained")),
        ["with memory, PyTorch (the figures to meet)", "74.2 (73.3–74.9)", "34.7 (33.9–35.3)"],
    ]
    if runs.options.python:
        rows.append(row("with memory, PyTorch, our script", [in_pytorch(runs, seed) for seed in SEEDS]))
    rows.append(row("with memory, crossbatch", pick(ours["with"], "trained")))
    return table(["", "R@1", "MAP@R"], rows)


def in_pytorch(runs, seed):
    file = runs.options.out / f"reference-pytorch-{seed}.txt"
    if not file.exists():
        script = ROOT / "benches/reference_experiment/omniglot.py"
        command = list(map(str, [runs.options.python, script, runs.options.data, "--memory", "--seed", seed]))
        print("+", " ".join(command), file=sys.stderr, flush=True)
        file.write_text(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    recall, precision = re.search(r"R@1 ([\d.]+) MAP@R ([\d.]+)", file.read_text()).groups()
    return {"recall_at_1": float(recall), "map_at_r": float(precision)}


def kernels(runs):
    """Every loss, through the fused kernel and through its reference body, from the same seed."""
    command = [runs.options.crossbatch, "losses", "--format", "json"]
    listed = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    kinds = [loss["name"] for loss in listed["losses"]]
    short = {**BARE, "steps": 250, "memory.size": 2048, "memory.start": 50, "loss.reduction": "anchor-mean"}
    rows = []
    for kind in kinds:
        found, losses = {}, {}
        for kernel in ("fused", "reference"):
            name = f"kernels-{kind}-{kernel}"
            settings = {**short, "loss.kind": kind, "loss.kernel": kernel}
            metrics = runs.train(name, recipe="omniglot.toml", data=runs.options.data, **settings)
            found[kernel] = metrics["trained"]
            steps = [line for line in runs.lines(name, 0) if line["event"] == "step"]
            losses[kernel] = [step["loss"] for step in steps]
        pairs = list(zip(losses["fused"], losses["reference"]))
        early = max(abs(a - b) / abs(b) for a, b in pairs[:60])
        percent = lambda kernel, key: f"{100 * found[kernel][key]:.2f}"
        cells = [percent(kernel, key) for key in ("recall_at_1", "map_at_r") for kernel in ("fused", "reference")]
        mean = lambda kernel: f"{statistics.mean(losses[kernel][-50:]):.4f}"
        rows.append([f"`{kind}`", *cells, mean("fused"), mean("reference"), f"{early:.0e}"])
    header = ["loss", "R@1, fused", "reference", "MAP@R, fused", "reference", "loss at the end, fused", "reference"]
    return table([*header, "first 60 losses apart"], rows)


def readme(runs):
    both, other = glyphs_runs(runs)
    recall = lambda metrics: spread([each["recall_at_1"] for each in metrics])
    bold = lambda text: re.sub(r"^(.*)$", r"**\1**", text)
    rows = []

    def add(data, recipe, metrics):
        columns = [recall(pick(metrics, key)) for key in ("without_memory", "trained")]
        raw = f"{100 * metrics[0]['raw']['recall_at_1']:.1f}"
        rows.append([data, recipe, raw, columns[0], bold(columns[1])])

    add("glyphs, 600 unseen classes", "`glyphs` (built in)", both)
    for reduction, metrics in other.items():
        name = f'the same, `loss.reduction = "{reduction}"` without memory'
        rows.append([name, "", "", recall(pick(metrics, "trained")), ""])
    add("Omniglot, 659 unseen classes", "`recipes/omniglot.toml`", omniglot_runs(runs))
    return table(["data", "recipe", "raw pixels", "without memory", "with memory"], rows)


# What each part needs beside the program, and the page it is in.
PARTS = {
    "glyphs": (glyphs, [], "docs/results.md"),
    "omniglot": (omniglot, ["data"], "docs/results.md"),
    "photographs": (photographs, ["grocery"], "docs/results.md"),
    "kernels": (kernels, ["data"], "docs/results.md"),
    "reference": (reference, ["data"], "docs/results.md"),
    "readme": (readme, ["data"], "README.md"),
}


def write(page, part, text):
    path = ROOT / page
    begin, end = f"<!-- results {part}: begin -->\n", f"<!-- results {part}: end -->\n"
    before, rest = path.read_text().split(begin)
    _, after = rest.split(end)
    path.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="Omniglot's folder")
    parser.add_argument("--grocery", help="the grocery set's folder")
    parser.add_argument("--python", help="with PyTorch, for the reference experiment there")
    parser.add_argument("--crossbatch", default=str(ROOT / "target/release/crossbatch"))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs/results")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--write", action="store_true", help="put the tables into the pages")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    runs = Runs(options)
    for part in options.only:
        build, needs, page = PARTS[part]
        missing = [need for need in needs if getattr(options, need) is None]
        if missing:
            print(f"\n{part}: left out, for want of " + ", ".join(f"--{need}" for need in missing), flush=True)
            continue
        text = build(runs)
        print(f"\n{part}\n\n{text}", flush=True)
        if options.write:
            write(page, part, text)


if __name__ == "__main__":
    main()
