"""Times `crossbatch bench memory` beside PyTorch on the very same inputs, and compares values and gradients.

    python memory_step.py PROGRAM [--threads 2] [--rounds 3] [--out FOLDER] [--bank FILE] [--small]

PROGRAM is the crossbatch binary; peers.py says what stands beside it. Within a case the programs take turns, first one
way round, then the other, and each is judged by the median of its calls. --bank adds a bank saved from a real run (its
checkpoint.safetensors). Writes results.json and results.md into FOLDER; exit code 1 where values or gradients differ.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

import peers

CASES = [  # loss, batch, entries
    ("contrastive", 64, 55_000),
    ("multi-similarity", 64, 55_000),
    ("contrastive", 64, 200_000),
    ("contrastive", 256, 55_000),
]
SWEEP = [1_000, 10_000, 100_000, 1_000_000, 4_000_000]
SMALL = ([("contrastive", 8, 600), ("multi-similarity", 8, 600)], [100, 1_000])
SECONDS = 2.0  # of calls of one program before the next one's turn
TOLERANCE = 2e-4  # relative, of values and of gradients by their length


def run(program, *options):
    command = [program, "bench", "memory", "--quiet", "--format", "json", *map(str, options)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


class Case:
    """One loss on one set of inputs, with everything that is timed on it."""

    def __init__(self, program, threads, folder, loss, data, batch, entries):
        self.loss, self.data = loss, data
        self.files = [folder / f"{name}.safetensors" for name in ("anchors", "bank", "gradient")]
        anchors, bank, gradient = self.files
        source = ["--bank", data] if isinstance(data, Path) else ["--data", data, "--entries", entries]
        self.program = [program, "--loss", loss, "--threads", threads]
        outputs = ["--anchors-out", anchors, "--bank-out", bank, "--gradient-out", gradient]
        self.first = run(*self.program, *source, "--batch", batch, *outputs)
        read = load_file(anchors)
        self.anchors, self.labels = read["embeddings"].requires_grad_(), read["labels"]
        read = load_file(bank)
        self.bank, self.bank_labels = read["embeddings"], read["labels"]
        self.gradient = load_file(gradient)["gradient"]
        forms = peers.PYTORCH[loss].items()
        self.peers = {f"PyTorch, {form}": call for form, call in forms}
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
        """Medians in seconds, of ours, of the products, and of each peer."""
        seconds = {name: [] for name in ["crossbatch", "products", *self.peers]}

        def ours():
            anchors, bank, _ = self.files
            found = run(*self.program, "--anchors", anchors, "--bank", bank)
            seconds["crossbatch"].append(found["median_seconds"])
            seconds["products"].append(found["products_seconds"])

        def theirs(name, peer):
            self.call(peer)
            begin = time.perf_counter()
            while True:
                start = time.perf_counter()
                self.call(peer)
                end = time.perf_counter()
                seconds[name].append(end - start)
                if end - begin > SECONDS:
                    break

        turns = [ours, *(lambda n=name, p=peer: theirs(n, p) for name, peer in self.peers.items())]
        for number in range(rounds):
            for turn in turns if number % 2 == 0 else reversed(turns):
                turn()
        return {name: statistics.median(values) for name, values in seconds.items()}

    def peaks(self):
        """Most bytes beyond what is there before a call, where the system tells it (Linux)."""
        found = {"crossbatch": self.first["peak_extra_bytes"]}
        status = Path("/proc/self/status")
        if not status.exists():
            return found
        field = lambda key: next(int(line.split()[1]) * 1024 for line in status.open() if line.startswith(key))
        for name, peer in self.peers.items():
            Path("/proc/self/clear_refs").write_text("5")  # forgets the highest so far
            before = field("VmRSS")
            self.call(peer)
            found[name] = max(field("VmHWM") - before, 0)
        return found

    def measure(self, rounds):
        differences, peaks, seconds = self.compare(), self.peaks(), self.time(rounds)
        keys = ["batch", "entries", "dim", "storage", "threads", "positives", "active_negatives", "memory_bytes"]
        data = "run" if isinstance(self.data, Path) else self.data
        about = {"loss": self.loss, "data": data, **{key: self.first[key] for key in keys}}
        return {**about, "seconds": seconds, "differences": differences, "peak_extra_bytes": peaks}


def markdown_cases(results):
    names = list(results[0]["seconds"])
    lines = [
        "Milliseconds of a call (value and gradient); in brackets how many times crossbatch's.",
        "",
        "| loss, B, M | data | active negatives | " + " | ".join(names) + " |",
        "|---" * (3 + len(names)) + "|",
    ]
    for result in results:
        ours = result["seconds"]["crossbatch"]
        cells = [f"{result['loss']}, {result['batch']}, {result['entries']:,}", result["data"]]
        cells.append(f"{result['active_negatives']:.1f}")
        for name, seconds in result["seconds"].items():
            ratio = "" if name == "crossbatch" else f" ({seconds / ours:.1f}x)"
            cells.append(f"{seconds * 1e3:.2f}{ratio}")
        lines.append("| " + " | ".join(cells) + " |")

    lines += ["", "Largest relative difference of a peer's value and gradient; most memory beyond the bank, MB.", ""]
    head = [name for name in names if name not in ("products",)]
    lines += ["| loss, B, M | data | value | gradient | " + " | ".join(head) + " |", "|---" * (4 + len(head)) + "|"]
    for result in results:
        cells = [f"{result['loss']}, {result['batch']}, {result['entries']:,}", result["data"]]
        for key in ("value", "gradient"):
            cells.append(f"{max(found[key] for found in result['differences'].values()):.1e}")
        cells += [f"{result['peak_extra_bytes'].get(name, float('nan')) / 1e6:.1f}" for name in head]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown_sweep(rows):
    lines = [
        "",
        "crossbatch alone, 64 anchors, contrastive: time for a million entries, and memory beyond the bank.",
        "",
        "| data | entries | ms | ms a million entries | of the products' rate | extra MB |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        seconds, products = row["median_seconds"], row["products_seconds"]
        cells = [row["data"], f"{row['entries']:,}", f"{seconds * 1e3:.2f}"]
        cells += [f"{seconds * 1e9 / row['entries']:.1f}", f"{products / seconds:.2f}"]
        cells.append(f"{row['peak_extra_bytes'] / 1e6:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("."))
    parser.add_argument("--bank", type=Path)
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that everything runs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cases, sweep = SMALL if args.small else (CASES, SWEEP)

    inputs = [(loss, data, batch, entries) for loss, batch, entries in cases for data in ("sparse", "dense")]
    if args.bank:
        inputs += [(loss, args.bank, 8 if args.small else 64, None) for loss in peers.PYTORCH]
    results, failed = [], False
    for case in inputs:
        with tempfile.TemporaryDirectory() as folder:
            result = Case(args.program, args.threads, Path(folder), *case).measure(args.rounds)
        results.append(result)
        ours = result["seconds"]["crossbatch"]
        print(f"{result['loss']}, {result['data']}, B {result['batch']}, M {result['entries']}")
        for name, seconds in result["seconds"].items():
            difference = result["differences"].get(name)
            line = f"  {name:28} {seconds * 1e3:10.2f} ms {seconds / ours:8.2f}x"
            if difference:
                line += f"   differs by {difference['value']:.1e} (value), {difference['gradient']:.1e} (gradient)"
                if not max(difference.values()) <= TOLERANCE:
                    line, failed = line + "  TOO FAR", True
            print(line, flush=True)

    rows = []
    for data in ("sparse", "dense"):
        sizes = ",".join(map(str, sweep))
        rows += run(args.program, "--threads", args.threads, "--data", data, "--entries", sizes)
    markdown = "\n".join(markdown_cases(results) + markdown_sweep(rows)) + "\n"
    print("\n" + markdown)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "results.md").write_text(markdown)
    (args.out / "results.json").write_text(json.dumps({"cases": results, "sweep": rows}, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
