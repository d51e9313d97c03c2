"""Times a training step (forward and backward) of Conv-4 in PyTorch, as examples/conv4_step.rs does.

    python conv4_step.py [eager|channels_last] [SECONDS] [THREADS]
"""

import sys
import time

import torch
from torch import nn


def main():
    layout = sys.argv[1] if len(sys.argv) > 1 else "eager"
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 2.0
    torch.set_num_threads(int(sys.argv[3]) if len(sys.argv) > 3 else 2)
    layers, channels = [], 1
    for block in range(4):
        layers += [nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
        if block < 3:
            layers.append(nn.MaxPool2d(2))
        channels = 64
    model, images = nn.Sequential(*layers), torch.randn(64, 1, 28, 28)
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)

    def step():
        model.zero_grad(set_to_none=True)
        output = model(images)
        (output * output).sum().backward()

    for _ in range(5):
        step()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds:
        begin = time.perf_counter()
        step()
        times.append((time.perf_counter() - begin) * 1e3)
    times.sort()
    print(f"torch {layout}: median {times[len(times) // 2]:.1f} ms, best {times[0]:.1f} ms of {len(times)} steps")


if __name__ == "__main__":
    main()
