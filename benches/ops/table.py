"""Makes a table of the lines that both sides printed: minima over rounds, and ours over PyTorch's.

    python table.py OURS PYTORCH
"""

import json
import sys


def best(path):
    found = {}
    for line in open(path):
        case = json.loads(line)
        key = (case["operation"], case["network"], tuple(case["shape"]), tuple(case["arguments"]))
        old = found.get(key, case)
        found[key] = {part: min(old[part], case[part]) for part in ("forward", "backward")}
    return found


ours, theirs = best(sys.argv[1]), best(sys.argv[2])
print("| operation | shape | of | forward ms | PyTorch | ratio | backward ms | PyTorch | ratio |")
print("|---|---|---|---:|---:|---:|---:|---:|---:|")
for key, mine in ours.items():
    operation, network, shape, arguments = key
    name = operation.replace("_", " ") + (" " + ", ".join(map(str, arguments)) if arguments else "")
    cells = []
    for part in ("forward", "backward"):
        a, b = mine[part] * 1e3, theirs[key][part] * 1e3
        cells += [f"{a:.3g}", f"{b:.3g}", f"{a / b:.2f}"]
    print(f"| {name} | {' x '.join(map(str, shape))} | {network} | " + " | ".join(cells) + " |")
