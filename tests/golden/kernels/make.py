"""Writes kernels.json: convolution, batch normalisation + ReLU and max-pooling by PyTorch.

Values and all gradients of sum(output * upstream), computed in f64 from inputs that are exact in f32.

    pip install -r requirements.txt
    python make.py
"""

import json
from pathlib import Path

import torch
from torch.nn import functional

torch.manual_seed(20261123)


def draw(*shape):
    """Multiples of 1/64 in about [-3, 3]: short to write, exact in f32."""
    return (torch.randn(*shape, dtype=torch.float64) * 64).round() / 64


def tensor(values):
    values = values.detach()
    return {"shape": list(values.shape), "values": [float(f"{v:.7g}") for v in values.flatten().tolist()]}


def record(inputs, output):
    upstream = draw(*output.shape)
    (output * upstream).sum().backward()
    return {
        "inputs": {name: tensor(value) for name, value in inputs.items()},
        "upstream": tensor(upstream),
        "output": tensor(output),
        "gradients": {name: tensor(value.grad) for name, value in inputs.items()},
    }


def conv(name, input, weight, stride, padding, bias=False):
    inputs = {"input": draw(*input), "weight": draw(*weight)}
    if bias:
        inputs["bias"] = draw(weight[0])
    for value in inputs.values():
        value.requires_grad_()
    output = functional.conv2d(inputs["input"], inputs["weight"], inputs.get("bias"), stride, padding)
    return {"name": name, "stride": stride, "padding": padding} | record(inputs, output)


def norm(name, shape, relu):
    inputs = {"input": draw(*shape), "weight": draw(shape[1]), "bias": draw(shape[1])}
    for value in inputs.values():
        value.requires_grad_()
    output = functional.batch_norm(
        inputs["input"], None, None, inputs["weight"], inputs["bias"], training=True, eps=1e-5
    )
    if relu:
        output = functional.relu(output)
    variance, mean = torch.var_mean(inputs["input"], dim=(0, 2, 3), correction=0)
    case = {"name": name, "relu": relu} | record(inputs, output)
    return case | {"mean": tensor(mean), "variance": tensor(variance)}


def pool(name, shape, kernel, stride):
    # Few distinct values, so that windows have equal maxima.
    inputs = {"input": (draw(*shape) * 2).round().requires_grad_()}
    output = functional.max_pool2d(inputs["input"], kernel, stride)
    return {"name": name, "kernel": kernel, "stride": stride} | record(inputs, output)


cases = {
    "conv2d": [
        conv("3x3 padded", (2, 3, 6, 5), (4, 3, 3, 3), [1, 1], [1, 1]),
        conv("3x3 stride 2 with bias", (2, 2, 7, 8), (9, 2, 3, 3), [2, 2], [1, 1], bias=True),
        conv("7x7 stem, stride 2", (1, 3, 9, 10), (3, 3, 7, 7), [2, 2], [3, 3]),
        conv("1x1 stride 2", (2, 5, 4, 5), (3, 5, 1, 1), [2, 2], [0, 0]),
        conv("kernel larger than the image", (3, 2, 1, 1), (2, 2, 3, 3), [1, 1], [1, 1]),
        conv("uneven kernel, stride and padding", (1, 2, 5, 7), (2, 2, 2, 3), [2, 3], [0, 2]),
    ],
    "batch_norm": [
        norm("with relu", (3, 4, 3, 5), True),
        norm("without relu", (2, 3, 4, 2), False),
        norm("one image, single pixels apart", (1, 2, 1, 3), True),
    ],
    "max_pool2d": [
        pool("2x2, odd sizes, ties", (2, 2, 5, 7), 2, 2),
        pool("3x3 stride 2", (1, 2, 7, 6), 3, 2),
        pool("gaps between windows", (1, 1, 6, 6), 2, 3),
    ],
}

path = Path(__file__).with_name("kernels.json")
path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":")) + "\n")
print(path, path.stat().st_size, "bytes")
