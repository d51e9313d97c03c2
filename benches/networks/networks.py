"""Times whole training steps or inference of a network in PyTorch, as `crossbatch bench step` and `bench infer` do.

    python networks.py step|infer conv4|resnet18|resnet50|... BATCH SIZE CHANNELS STEPS THREADS eager|channels_last

A step is forward, a 128-d head, L2 normalisation, the batch's contrastive loss over 4 images a class (margin 0.5, sum
over pairs / anchors), backward, and Adam. Prints one JSON object.
"""

import json
import statistics
import sys
import time

import torch
import torchvision
from torch import nn

WARM_UP, IMAGES, MARGIN = 3, 4, 0.5


def network(name, size, channels):
    if name == "conv4":
        layers, width = [], channels
        for block in range(4):
            layers += [nn.Conv2d(width, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
            if block < 3:
                layers.append(nn.MaxPool2d(2))
            width = 64
        features = 64 * (size // 8) ** 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 128))
    model = getattr(torchvision.models, name)(weights=None)
    if name.startswith("resnet"):
        if channels != 3:
            model.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        model.fc = nn.Linear(model.fc.in_features, 128)
        return model
    raise SystemExit(f"networks.py does not know {name}")


def contrastive(rows, same, negative):
    similarities = rows @ rows.T
    positives = torch.where(same, 1 - similarities, 0.0).sum()
    negatives = torch.where(negative & (similarities > MARGIN), similarities, 0.0).sum()
    return (positives + negatives) / rows.shape[0]


def main():
    what, name = sys.argv[1:3]
    batch, size, channels, steps, threads = map(int, sys.argv[3:8])
    layout = sys.argv[8]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = network(name, size, channels)
    labels = torch.arange(batch) // IMAGES
    images = torch.rand(batch, channels, size, size) - 0.5
    images += (torch.rand(batch // IMAGES + 1, channels, size, size) - 0.5)[labels]
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
        images = images.to(memory_format=torch.channels_last)

    same = labels[:, None] == labels[None, :]
    negative = ~same
    same.fill_diagonal_(False)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = contrastive(nn.functional.normalize(model(images)), same, negative)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    def infer():
        with torch.inference_mode():
            nn.functional.normalize(model(images)).numpy()

    model.train(what == "step")
    call = step if what == "step" else infer
    seconds = []
    for number in range(WARM_UP + steps):
        start = time.perf_counter()
        call()
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    print(json.dumps({"median_seconds": statistics.median(seconds), "losses": losses[:1] + losses[-1:]}))


if __name__ == "__main__":
    main()
