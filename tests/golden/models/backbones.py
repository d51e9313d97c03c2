"""Writes backbones.json: what torchvision's and timm's networks compute with parameters from a formula.

    python tests/golden/models/backbones.py

Element `i` (row-major) of the tensor that is called `name` in the state dict is
    offset + scale * sin(0.37 * i + 0.011 * i * i + 0.001 * h),
where `h` is 32-bit FNV-1a of the name, modulo 65,521. Offset 0 and scale 2 / sqrt(fan_in) for tensors of two or more
dimensions (fan_in: the product of all sizes but the first), offset 0 and scale 0.1 for biases, running means and
factors, offset 1 and scale 0.3 for one-dimensional weights and running variances. Shifts of batch normalisations have
offset 2: with 0, hundreds of values lie so near to a ReLU's kink that f32 decides by luck which gradients pass, and two
correct networks differ by more than either's rounding. Pixel `i` is
0.5 + 0.5 * sin(0.011 * i * i). All of it is computed in f64 and rounded to f32. Features are what the classifier would
take; `loss = sum(features * cos(0.7 * i)) / len(features)`. f64 gives the values, f32 the error that f32 alone makes.

Of more than 1,024 numbers only every `step`-th is kept, and the length is theirs. Of a gradient it is the error of f32
over all of it, its length, and three products with cos(0.7 * i + k), k = 0, 1, 2, divided by the root of its size.
"""

import json
import math
import pathlib

import timm
import torch
import torchvision

from bn_inception import BnInception

HERE = pathlib.Path(__file__).parent
BATCH = 4


def from_torchvision(name, **options):
    model = getattr(torchvision.models, name)(weights=None, **options)
    model.fc = model.dropout = torch.nn.Identity()
    if hasattr(model, "classifier"):
        model.classifier = torch.nn.Flatten()
    return model


def from_timm(name, size):
    return timm.create_model(name, pretrained=False, img_size=size, num_classes=0)


# Name, side of the images, how it is built.
MODELS = [
    ("resnet18", 64, lambda: from_torchvision("resnet18")),
    ("resnet34", 64, lambda: from_torchvision("resnet34")),
    ("resnet50", 64, lambda: from_torchvision("resnet50")),
    ("resnet101", 64, lambda: from_torchvision("resnet101")),
    ("googlenet", 64, lambda: from_torchvision("googlenet", aux_logits=False, init_weights=False)),
    ("bn-inception", 64, BnInception),
    ("vit-s16", 64, lambda: from_timm("vit_small_patch16_224", 64)),
    ("vit-b16", 64, lambda: from_timm("vit_base_patch16_224", 64)),
    ("dinov2-s14", 56, lambda: from_timm("vit_small_patch14_dinov2", 56)),
    ("dinov2-s14-reg", 56, lambda: from_timm("vit_small_patch14_reg4_dinov2", 56)),
    ("dinov2-b14", 56, lambda: from_timm("vit_base_patch14_dinov2", 56)),
    ("dinov2-b14-reg", 56, lambda: from_timm("vit_base_patch14_reg4_dinov2", 56)),
    ("convnext-t", 64, lambda: from_torchvision("convnext_tiny", stochastic_depth_prob=0)),
    ("mobilenetv3-small", 64, lambda: from_torchvision("mobilenet_v3_small")),
    ("mobilenetv3-large", 64, lambda: from_torchvision("mobilenet_v3_large")),
]


def number(name):
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value % 65521


@torch.no_grad()
def fill(model):
    state = model.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        offset, scale = 0.0, 0.1
        if tensor.dim() > 1:
            scale = 2 / math.sqrt(tensor[0].numel())
        elif name.endswith("weight") or name.endswith("running_var"):
            offset, scale = 1.0, 0.3
        elif name.removesuffix("bias") + "running_mean" in state:
            offset = 2.0
        i = torch.arange(tensor.numel(), dtype=torch.float64)
        values = offset + scale * torch.sin(0.37 * i + 0.011 * i * i + 0.001 * number(name))
        tensor.copy_(values.reshape(tensor.shape).float())


def pixels(size):
    i = torch.arange(BATCH * 3 * size * size, dtype=torch.float64)
    return (0.5 + 0.5 * torch.sin(0.011 * i * i)).reshape(BATCH, 3, size, size).float()


def compute(build, size, dtype):
    model = build()
    fill(model)
    model, images = model.to(dtype), pixels(size).to(dtype)
    model.eval()
    with torch.no_grad():
        values = {"inference": model(images)}
    model.train()
    values["training"] = features = model(images)
    i = torch.arange(features.numel(), dtype=torch.float64)
    weights = torch.cos(0.7 * i).to(dtype).reshape(features.shape)
    (features * weights).sum().div(features.numel()).backward()
    gradients = {name: tensor.grad for name, tensor in model.named_parameters() if tensor.grad is not None}
    running = [name for name in model.state_dict() if "running" in name]
    values |= {f"running {name}": model.state_dict()[name] for name in running[:2] + running[-2:]}
    flat = lambda tensors: {name: tensor.detach().double().flatten() for name, tensor in tensors.items()}
    names = [name for name in model.state_dict() if not name.endswith("num_batches_tracked")]
    return names, flat(values), flat(gradients)


def short(number):
    return float(f"{number:.8g}")


def golden(size, build):
    names, exact, gradients = compute(build, size, torch.float64)
    _, single, single_gradients = compute(build, size, torch.float32)
    result = {"size": size, "names": names, "values": {}, "gradients": {}}
    for name, value in exact.items():
        step = math.ceil(len(value) / 1024)
        value, found = value[::step], single[name][::step]
        result["values"][name] = {
            "error": float(f"{(found - value).norm() / value.norm():.3g}"),
            "step": step,
            "values": [short(number) for number in value.tolist()],
        }
    for name, value in gradients.items():
        i = torch.arange(len(value), dtype=torch.float64)
        products = [value @ torch.cos(0.7 * i + k) / math.sqrt(len(i)) for k in range(3)]
        error = (single_gradients[name] - value).norm() / value.norm()
        kept = [float(f"{error:.3g}")] + [short(number) for number in [value.norm(), *products]]
        result["gradients"][name] = kept
    return result


def main():
    out = {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__}
    for name, size, build in MODELS:
        out[name] = golden(size, build)
        errors = {key: value["error"] for key, value in out[name]["values"].items()}
        worst = max(row[0] for row in out[name]["gradients"].values())
        print(name, errors, "gradients", worst, flush=True)
    (HERE / "backbones.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
