"""Writes backbones.json: what torchvision's networks compute with parameters from a formula, and small weight files.

    python tests/golden/models/backbones.py

Element `i` (row-major) of the tensor that is called `name` in the state dict is
    offset + scale * sin(0.37 * i + 0.011 * i * i + 0.001 * h),
where `h` is 32-bit FNV-1a of the name, modulo 65,521. Offset 0 and scale 2 / sqrt(fan_in) for weights of two or more
dimensions (fan_in: the product of all sizes but the first), offset 0 and scale 0.1 for biases and running means,
offset 1 and scale 0.3 for one-dimensional weights and running variances. Pixel `i` is 0.5 + 0.5 * sin(0.011 * i * i).
All of it is computed in f64 and rounded to f32. Features are averaged over the image (the classifier is replaced by
nothing), `loss = sum(features * cos(0.7 * i)) / features`. f64 gives the values, f32 the error that f32 alone makes.
Of each gradient its length and three products with cos(0.7 * i + k), k = 0, 1, 2, divided by the root of its size,
are kept.
"""

import json
import math
import pathlib

import torch
import torchvision
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
BATCH, SIZE = 4, 64


def number(name):
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value % 65521


@torch.no_grad()
def fill(model):
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        offset, scale = 0.0, 0.1
        if tensor.dim() > 1:
            scale = 2 / math.sqrt(tensor[0].numel())
        elif name.endswith("weight") or name.endswith("running_var"):
            offset, scale = 1.0, 0.3
        i = torch.arange(tensor.numel(), dtype=torch.float64)
        values = offset + scale * torch.sin(0.37 * i + 0.011 * i * i + 0.001 * number(name))
        tensor.copy_(values.reshape(tensor.shape).float())


def pixels():
    i = torch.arange(BATCH * 3 * SIZE * SIZE, dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(0.011 * i * i)).reshape(BATCH, 3, SIZE, SIZE).float()


def build(name):
    model = getattr(torchvision.models, name)(weights=None)
    model.fc = torch.nn.Identity()
    return model


def compute(name, dtype):
    model = build(name)
    fill(model)
    model, images = model.to(dtype), pixels().to(dtype)
    model.eval()
    values = {"inference": model(images)}
    model.train()
    values["training"] = features = model(images)
    weights = torch.cos(0.7 * torch.arange(features.numel(), dtype=torch.float64)).to(dtype)
    (features * weights.reshape(features.shape)).sum().div(features.numel()).backward()
    for parameter, tensor in model.named_parameters():
        gradient = tensor.grad.double().flatten()
        i = torch.arange(gradient.numel(), dtype=torch.float64)
        products = [gradient @ torch.cos(0.7 * i + k) / math.sqrt(len(i)) for k in range(3)]
        values[f"gradient {parameter}"] = torch.stack([gradient.norm(), *products])
        values[f"gradient {parameter}"].error = gradient
    for buffer, tensor in model.state_dict().items():
        if buffer in RUNNING:
            values[f"running {buffer}"] = tensor
    return values


RUNNING = ["bn1.running_mean", "bn1.running_var", "layer4.1.bn2.running_var"]


def relative(found, exact):
    return ((found - exact).norm() / exact.norm()).item()


def golden(name):
    exact, single = compute(name, torch.float64), compute(name, torch.float32)
    result = {}
    for key, value in exact.items():
        flat = value.detach().double().flatten()
        # Of a gradient it is the error of the whole tensor that counts, not that of its products.
        pair = (single[key], value) if not key.startswith("gradient") else (single[key].error, value.error)
        error = relative(pair[0].detach().double().flatten(), pair[1].detach().double().flatten())
        length = pair[1].norm().item()
        result[key] = {
            "pytorch_f32_error": float(f"{error:.3g}"),
            "values": [float(f"{number:.9g}") for number in flat.tolist()],
            "length": length,
        }
    names = [key for key in build(name).state_dict() if not key.endswith("num_batches_tracked")]
    return {"names": names, "values": result}


def main():
    names = ["resnet18", "resnet50"]
    out = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    out |= {name: golden(name) for name in names}
    (HERE / "backbones.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
