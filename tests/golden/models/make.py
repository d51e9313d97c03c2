"""Writes conv4.json: what PyTorch computes for the Conv-4 embedder with parameters from a formula.

    python tests/golden/models/make.py

Parameter `p` of the state dict (in order, from 0), element `i` (row-major), is
    offset + scale * sin(0.37 * i + 1.3 * p)
with offset 0 and scale 2 / sqrt(fan_in) for weights, offset 0 and scale 0.1 for biases and running
means, offset 1 and scale 0.3 for BatchNorm weights and running variances. Pixel `i` of the input is
0.5 + 0.5 * sin(0.011 * i * i). All of it is computed in f64 and rounded to f32. The network then runs in
f64, which gives the values, and in f32, which gives the error that f32 alone makes.
"""

import json
import math
import pathlib

import torch
from torch import nn


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(64)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(1 if index == 0 else 64) for index in range(4)])

    def forward(self, x):
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index < 3:
                x = nn.functional.max_pool2d(x, 2)
        return x.flatten(1)


class Embedder(nn.Module):
    def __init__(self, embedding=16):
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Linear(576, embedding)

    def forward(self, x):
        return nn.functional.normalize(self.head(self.backbone(x)))


@torch.no_grad()
def fill(model):
    tensors = {k: v for k, v in model.state_dict().items() if "num_batches" not in k}
    for p, (name, tensor) in enumerate(tensors.items()):
        offset, scale = 0.0, 0.1
        if name.endswith("norm.weight") or name.endswith("running_var"):
            offset, scale = 1.0, 0.3
        elif name.endswith("weight"):
            scale = 2.0 / math.sqrt(tensor[0].numel())
        values = torch.arange(tensor.numel(), dtype=torch.float64)
        values = offset + scale * torch.sin(0.37 * values + 1.3 * p)
        tensor.copy_(values.reshape(tensor.shape).float())
    return list(tensors)


def pixels(batch):
    i = torch.arange(batch * 784, dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(0.011 * i * i)).reshape(batch, 1, 28, 28).float()


GRADIENTS = ["backbone.blocks.0.conv.weight", "backbone.blocks.0.norm.bias",
             "backbone.blocks.3.norm.weight", "head.bias"]
RUNNING = ["backbone.blocks.0.norm.running_mean", "backbone.blocks.0.norm.running_var",
           "backbone.blocks.3.norm.running_var"]


def compute(dtype):
    model = Embedder()
    names = fill(model)
    model, images = model.to(dtype), pixels(6).to(dtype)
    model.eval()
    values = {"inference": model(images)}
    model.train()
    values["training"] = training = model(images)
    coefficients = torch.cos(0.7 * torch.arange(training.numel(), dtype=torch.float64)).to(dtype)
    (training * coefficients.reshape(training.shape)).sum().backward()
    parameters = dict(model.named_parameters())
    values.update({f"gradient {name}": parameters[name].grad for name in GRADIENTS})
    values.update({f"running {name}": model.state_dict()[name] for name in RUNNING})
    return names, {name: value.detach().double().flatten() for name, value in values.items()}


def main():
    names, exact = compute(torch.float64)
    _, single = compute(torch.float32)
    golden = {"torch": torch.__version__, "names": names}
    for name, value in exact.items():
        error = ((single[name] - value).norm() / value.norm()).item()
        numbers = [float(f"{number:.9g}") for number in value.tolist()]
        golden[name] = {"pytorch_f32_error": float(f"{error:.3g}"), "values": numbers}
    path = pathlib.Path(__file__).with_name("conv4.json")
    path.write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    main()
