"""Writes the rounds' lines of JSON as tables, into the section 'Convolution' of a page.

    python table.py LINES.jsonl PAGE.md "MACHINE, STATE"
"""

import csv
import json
import sys
from pathlib import Path

BEGIN, END = "<!-- convolution -->", "<!-- /convolution -->"


def main():
    lines, page, machine = sys.argv[1:4]
    with open(Path(__file__).with_name("layers.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    times = {}
    for line in Path(lines).read_text().splitlines():
        entry = json.loads(line)
        forward = entry["forward"]
        backward = entry.get("backward", entry.get("to_input", 0.0) + entry.get("to_weight", 0.0))
        found = times.setdefault(entry["layer"], {}).setdefault(entry["kind"], [1e9, 1e9])
        found[0], found[1] = min(found[0], forward), min(found[1], backward)

    sums, layers = {}, []
    for index, kinds in sorted(times.items()):
        row = rows[index]
        ours = kinds["crossbatch"]
        peer = [min(kinds[kind][side] for kind in ("eager", "channels_last")) for side in range(2)]
        count, batch, c, o, h, w, k, s, p, g = (int(row[key]) for key in (
            "count", "batch", "channels", "filters", "height", "width", "kernel", "stride", "padding", "groups"))
        area = ((h + 2 * p - k) // s + 1) * ((w + 2 * p - k) // s + 1)
        work = 2e-6 * batch * (c // g) * o * k * k * area
        gradients = 1 if row["first"] == "1" else 2
        total = sums.setdefault(row["network"], [0.0] * 4)
        for at, value in enumerate((ours[0], peer[0], ours[1], peer[1])):
            total[at] += count * value
        layers.append(
            f"| {row['network']} | {count} | {batch} x {c} x {h} x {w} | {o} | {k}, {s}{', ' + str(g) + ' groups' if g > 1 else ''} "
            f"| {ours[0]:.2f} | {work / ours[0]:.0f} | {ours[0] / peer[0]:.2f} "
            f"| {ours[1]:.2f} | {gradients * work / ours[1]:.0f} | {ours[1] / peer[1]:.2f} |"
        )

    text = [BEGIN, "", f"{machine}.", "",
            "| network, all its convolutions | forward, ms | PyTorch | ratio | gradients, ms | PyTorch | ratio | together |",
            "|---|---|---|---|---|---|---|---|"]
    for network, (f, pf, b, pb) in sums.items():
        text.append(f"| {network} | {f:.1f} | {pf:.1f} | {f / pf:.2f} | {b:.1f} | {pb:.1f} | {b / pb:.2f} | {(f + b) / (pf + pb):.2f} |")
    text += ["", "| network | times | input | filters | kernel, stride | forward, ms | GFLOP/s | ratio | gradients, ms | GFLOP/s | ratio |",
             "|---|---|---|---|---|---|---|---|---|---|---|---|", *layers, "", END]
    path = Path(page)
    before, _, rest = path.read_text().partition(BEGIN)
    path.write_text(before + "\n".join(text) + rest.partition(END)[2])


if __name__ == "__main__":
    main()
