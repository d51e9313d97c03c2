"""Times `crossbatch bench memory` beside PyTorch on the very same inputs, and compares values and gradients.

    python memory_step.py PROGRAM [--threads 2] [--rounds 3] [--out FOLDER] [--docs PAGE] [--bank FILE] [--small]

PROGRAM is the crossbatch binary; peers.py says what stands beside it. Within a case the programs take turns, first one
way round, then the other, and each is judged by the median of its calls. --bank adds a bank saved from a real run (its
checkpoint.safetensors). Writes results.json and results.md (tables.py) into FOLDER; exit code 1 where values or
gradients differ.
"""

import argparse
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytorch_metric_learning
import torch
from safetensors.torch import load_file

import peers
import tables

CASES = [  # loss, batch, entries
    ("contrastive", 64, 55_000),
    ("multi-similarity", 64, 55_000),
    ("contrastive", 64, 200_000),
    ("contrastive", 256, 55_000),
]
STORAGE = (["f16", "bf16"], 55_000)  # further types of the memory, crossbatch alone
SWEEP = [1_000, 10_000, 100_000, 1_000_000, 4_000_000]
MOST = {"peers": 1_000_000, "others": 100_000}  # entries up to which PyTorch, and the rest, take part in the sweep
SMALL = {
    "cases": [("contrastive", 8, 5_000), ("multi-similarity", 8, 5_000)],
    "storage": (["f16"], 1_000),
    "sweep": [100, 1_000, 3_000],
    "most": {"peers": 1_000, "others": 100},
}
SECONDS = 1.0  # of calls of one program before the next one's turn
TOLERANCE = 2e-4  # relative, of values and of gradients by their length


def run(program, *options):
    command = [program, "bench", "memory", "--quiet", "--format", "json", *map(str, options)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


class Case:
    """One loss on one set of inputs, with everything that is timed on it."""

    def __init__(self, program, threads, folder, loss, data, batch, entries, others=True):
        self.loss, self.data = loss, data
        self.files = [folder / f"{name}.safetensors" for name in ("anchors", "bank", "gradient")]
        anchors, bank, gradient = self.files
        source = ["--bank", data] if isinstance(data, Path) else ["--data", data, "--entries", entries]
        # Of a large memory every call takes long, and so do the two products beside it.
        calls = 40 if entries is None or entries < 1_000_000 else 20
        self.program = [program, "--loss", loss, "--threads", threads, "--calls", calls]
        outputs = ["--anchors-out", anchors, "--bank-out", bank, "--gradient-out", gradient]
        self.first = run(*self.program, *source, "--batch", batch, *outputs)
        read = load_file(anchors)
        self.anchors, self.labels = read["embeddings"].requires_grad_(), read["labels"]
        read = load_file(bank)
        self.bank, self.bank_labels = read["embeddings"], read["labels"]
        self.gradient = load_file(gradient)["gradient"]
        self.peers = {f"PyTorch, {form}": call for form, call in peers.PYTORCH[loss].items()}
        if others:
            self.peers["pytorch-metric-learning"] = peers.metric_learning(loss, self.bank, self.bank_labels)
            self.peers["loop over anchors"] = peers.LOOP[loss]

    def call(self, peer):
        self.anchors.grad = None
        value = peer(self.anchors, self.labels, self.bank, self.bank_labels)
        value.backward()
        return value.item(), self.anchors.grad

    def expected(self, name):
        """What our value and gradient are in the peer's terms."""
        value, gradient = self.first["value"], self.gradient
        if name == "pytorch-metric-learning":
            anchors = self.anchors.detach()
            length = anchors.norm(dim=1, keepdim=True)
            unit = anchors / length
            if self.loss == "contrastive":
                active = self.first["active_negatives"]
                value, gradient = (value - active * peers.MARGIN) * len(anchors), gradient * len(anchors)
            gradient = (gradient - (gradient * unit).sum(1, keepdim=True) * unit) / length
        return value, gradient

    def compare(self):
        differences = {}
        for name, peer in self.peers.items():
            value, gradient = self.call(peer)
            our_value, our_gradient = self.expected(name)
            differences[name] = {
                "value": abs(value - our_value) / max(abs(value), 1e-12),
                "gradient": ((gradient - our_gradient).norm() / gradient.norm().clamp_min(1e-12)).item(),
            }
        return differences

    def time(self, rounds):
        """Medians in seconds of each round: of ours, of the products, and of each peer."""
        seconds = {name: [] for name in ["crossbatch", "products", *self.peers]}

        def ours():
            anchors, bank, _ = self.files
            found = run(*self.program, "--anchors", anchors, "--bank", bank)
            seconds["crossbatch"].append(found["median_seconds"])
            seconds["products"].append(found["products_seconds"])

        def theirs(name, peer):
            self.call(peer)
            calls, begin = [], time.perf_counter()
            while True:
                start = time.perf_counter()
                self.call(peer)
                end = time.perf_counter()
                calls.append(end - start)
                if end - begin > SECONDS:
                    break
            seconds[name].append(statistics.median(calls))

        turns = [ours, *(lambda n=name, p=peer: theirs(n, p) for name, peer in self.peers.items())]
        for number in range(rounds):
            for turn in turns if number % 2 == 0 else reversed(turns):
                turn()
        return seconds

    def peaks(self):
        """Most bytes beyond what is there before a call, where the system tells it (Linux)."""
        found = {"crossbatch": self.first["peak_extra_bytes"]}
        for name, peer in self.peers.items():
            self.anchors.grad = None
            peak = most_extra_bytes(lambda: self.call(peer))
            if peak is not None:
                found[name] = peak
        return found

    def measure(self, rounds):
        differences, peaks, seconds = self.compare(), self.peaks(), self.time(rounds)
        keys = ["batch", "entries", "dim", "storage", "threads", "positives", "active_negatives", "memory_bytes"]
        data = "run" if isinstance(self.data, Path) else self.data
        return {
            "loss": self.loss,
            "data": data,
            **{key: self.first[key] for key in keys},
            "seconds": {name: statistics.median(values) for name, values in seconds.items()},
            "rounds": seconds,
            "differences": differences,
            "peak_extra_bytes": peaks,
        }


def most_extra_bytes(call):
    """Most bytes that this process holds at once during `call`, beyond those before it; None where no one tells."""
    status, refs = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not (status.exists() and refs.exists()):
        return None
    field = lambda key: next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith(key))
    ctypes.CDLL(None).malloc_trim(0)  # what earlier calls left would hide what this one takes
    refs.write_text("5")  # forgets the highest so far
    before = field("VmRSS")
    call()
    return max(field("VmHWM") - before, 0)


def check_the_meter():
    """A meter of memory that is off by more than 2 MB on 100 MB is not worth its column."""
    found = most_extra_bytes(lambda: torch.ones(25_000_000))
    if found is not None and abs(found - 100e6) > 2e6:
        sys.exit(f"the meter of memory found {found / 1e6:.1f} MB where a call takes 100.0")


def about_this_run():
    """Date, commit, processor and versions: what a number means nothing without."""
    root = Path(__file__).resolve().parents[2]
    commit = subprocess.run(["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    return (
        f"{time.strftime('%d %B %Y')}, commit {commit.stdout.strip() or 'unknown'}, {os.cpu_count()} cores of {cpu}, "
        f"{torch.get_num_threads()} threads each, PyTorch {torch.__version__}, "
        f"pytorch-metric-learning {pytorch_metric_learning.__version__}."
    )


def tell(result):
    """Prints a case as it is done; says whether values and gradients agree."""
    print(f"{result['loss']}, {result['data']}, B {result['batch']}, M {result['entries']}")
    agrees = True
    for name, seconds in result["seconds"].items():
        difference = result["differences"].get(name)
        line = f"  {name:28} {seconds * 1e3:10.2f} ms {seconds / result['seconds']['crossbatch']:8.2f}x"
        if difference:
            line += f"   differs by {difference['value']:.1e} (value), {difference['gradient']:.1e} (gradient)"
            if not max(difference.values()) <= TOLERANCE:
                line, agrees = line + "  TOO FAR", False
        print(line, flush=True)
    return agrees


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--docs", type=Path, help="a page to put the tables into (docs/benchmarks.md)")
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that everything runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    check_the_meter()
    plan = {"cases": CASES, "storage": STORAGE, "sweep": SWEEP, "most": MOST}
    plan = SMALL if args.small else plan

    def case(*about, **options):
        with tempfile.TemporaryDirectory() as folder:
            return Case(args.program, args.threads, Path(folder), *about, **options).measure(args.rounds)

    kinds = ("sparse", "dense")
    inputs = [(loss, data, batch, entries) for loss, batch, entries in plan["cases"] for data in kinds]
    batch = plan["cases"][0][1]
    if args.bank:
        inputs += [(loss, args.bank, batch, None) for loss in peers.PYTORCH]
    results, agree = [], []
    for about in inputs:
        results.append(case(*about))
        agree.append(tell(results[-1]))

    sweep, alone = [], ["--threads", args.threads, "--batch", batch]
    for data in kinds:
        for entries in plan["sweep"]:
            if entries <= plan["most"]["peers"]:
                others = entries <= plan["most"]["others"]
                sweep.append(case("contrastive", data, batch, entries, others=others))
                agree.append(tell(sweep[-1]))
            else:
                found = run(args.program, *alone, "--data", data, "--entries", entries, "--calls", 20)
                sweep.append(tables.alone(found))
    kinds_of_storage, entries = plan["storage"]
    stored = [
        tables.alone(run(args.program, *alone, "--data", data, "--entries", entries, "--storage", storage))
        for storage in ["f32", *kinds_of_storage]
        for data in kinds
    ]

    markdown = about_this_run() + "\n\n" + tables.markdown(results, sweep, stored)
    print("\n" + markdown)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.md").write_text(markdown)
    found = {"about": about_this_run(), "cases": results, "sweep": sweep, "storage": stored}
    (args.out / "results.json").write_text(json.dumps(found, indent=1) + "\n")
    if args.docs:
        tables.write_docs(args.docs, markdown)
    sys.exit(0 if all(agree) else 1)


if __name__ == "__main__":
    main()
