"""Times the convolutions of layers.csv in PyTorch, as crossbatch-math's example `conv` does.

    python conv.py NETWORK|all eager|channels_last [THREADS] [SECONDS]

A line of JSON a layer: milliseconds (the best of the repeats) of the forward pass and of the gradients (to the input too,
but for a network's first layer).
"""

import csv
import json
import sys
import time
from pathlib import Path

import torch


def best(run, seconds):
    run()
    least, start, count = float("inf"), time.perf_counter(), 0
    while count < 5 or time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - begin)
        count += 1
    return least * 1e3


def main():
    only, layout = sys.argv[1], sys.argv[2]
    torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else 0.1
    form = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    with open(Path(__file__).with_name("layers.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    for index, row in enumerate(rows):
        if only not in (row["network"], "all"):
            continue
        batch, c, o, h, w, k, s, p, g, bias, first = (int(value) for value in list(row.values())[2:])
        image = torch.randn(batch, c, h, w).to(memory_format=form)
        weight = (torch.randn(o, c // g, k, k) * 0.1).to(memory_format=form)
        shift = torch.randn(o) if bias else None
        with torch.no_grad():
            output = torch.conv2d(image, weight, shift, s, p, 1, g)
            upstream = torch.randn_like(output)
            forward = best(lambda: torch.conv2d(image, weight, shift, s, p, 1, g), seconds)
            mask = [not first, True, bool(bias)]
            backward = best(
                lambda: torch.ops.aten.convolution_backward(
                    upstream, image, weight, [o], [s, s], [p, p], [1, 1], False, [0, 0], g, mask
                ),
                seconds,
            )
        print(json.dumps({"layer": index, "kind": layout, "forward": forward, "backward": backward}), flush=True)


if __name__ == "__main__":
    main()
