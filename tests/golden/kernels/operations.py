"""Writes operations.json: everything but convolution by PyTorch.

Values and all gradients of sum(output * upstream), computed in f64 from inputs that are exact in f32.

    pip install -r requirements.txt
    python operations.py
"""

import json
from pathlib import Path

import torch
from torch.nn import functional

torch.manual_seed(20261124)


def draw(*shape):
    """Multiples of 1/64 in about [-3, 3]: short to write, exact in f32."""
    return (torch.randn(*shape, dtype=torch.float64) * 64).round() / 64


def tensor(values):
    values = values.detach()
    return {"shape": list(values.shape), "values": [float(f"{v:.9g}") for v in values.flatten().tolist()]}


def case(operation, run, inputs, **options):
    inputs = [value.requires_grad_() for value in inputs]
    output = run(*inputs)
    upstream = draw(*output.shape)
    (output * upstream).sum().backward()
    return {
        "operation": operation,
        "options": options,
        "inputs": [tensor(value) for value in inputs],
        "upstream": tensor(upstream),
        "output": tensor(output),
        "gradients": [tensor(value.grad) for value in inputs],
    }


def norm(shape, relu):
    def run(input, weight, bias, residual):
        output = functional.batch_norm(input, None, None, weight, bias, training=True, eps=1e-5) + residual
        return functional.relu(output) if relu else output

    inputs = [draw(*shape), draw(shape[1]), draw(shape[1]), draw(*shape)]
    return case("batch_norm_residual", run, inputs, relu=relu)


def window(operation, shape, kernel, stride, padding, ceil_mode, include=True):
    def run(input):
        if operation == "max_pool2d":
            return functional.max_pool2d(input, kernel, stride, padding, ceil_mode=ceil_mode)
        return functional.avg_pool2d(input, kernel, stride, padding, ceil_mode, include)

    # Few distinct values, so that windows have equal maxima.
    input = (draw(*shape) * 2).round()
    options = {"kernel": kernel, "stride": stride, "padding": padding, "ceil_mode": ceil_mode, "include": include}
    return case(operation, run, [input], **options)


def layer(shape, epsilon):
    run = lambda input, weight, bias: functional.layer_norm(input, shape[-1:], weight, bias, epsilon)
    return case("layer_norm", run, [draw(*shape), draw(shape[-1]), draw(shape[-1])], epsilon=epsilon)


windows = [
    ((2, 2, 7, 6), 3, 2, 1, False),
    ((1, 2, 6, 7), 3, 2, 0, True),
    ((1, 2, 5, 4), 2, 2, 1, True),
    ((1, 1, 4, 5), 3, 1, 1, False),
    ((1, 2, 1, 1), 3, 2, 1, True),
]
cases = (
    [norm((3, 4, 3, 5), True), norm((2, 3, 4, 2), False), norm((2, 2, 1, 1), True)]
    + [window("max_pool2d", *options) for options in windows]
    + [window("average_pool2d", *options, include) for options in windows for include in (True, False)]
    + [
        case("adaptive_average_pool2d", lambda x, s=size: functional.adaptive_avg_pool2d(x, s), [draw(*shape)], size=size)
        for shape, size in [((2, 2, 5, 7), [3, 2]), ((1, 3, 4, 4), [1, 1]), ((1, 1, 2, 3), [3, 4])]
    ]
    + [
        case("global_average_pool", lambda x: x.mean((2, 3)), [draw(2, 3, 3, 5)]),
        case("global_max_pool", lambda x: functional.adaptive_max_pool2d(x, 1).flatten(1), [draw(2, 3, 3, 5)]),
    ]
    + [layer((3, 2, 7), 1e-5), layer((4, 40), 1e-6), layer((1, 1, 2), 1e-5)]
    + [case("gelu", functional.gelu, [draw(5, 9) * 2])]
    + [
        case("linear", functional.linear, [draw(2, 3, 5), draw(4, 5), draw(4)]),
        case("linear", functional.linear, [draw(1, 7), draw(2, 7)]),
    ]
    + [
        case("attention", functional.scaled_dot_product_attention, [draw(*q), draw(*k), draw(*k)])
        for q, k in [((2, 2, 3, 4), (2, 2, 3, 4)), ((1, 1, 2, 3), (1, 1, 5, 3)), ((1, 1, 1, 1), (1, 1, 1, 1))]
    ]
    + [case("l2_normalize", functional.normalize, [torch.cat([draw(3, 6), torch.zeros(1, 6, dtype=torch.float64)])])]
)

path = Path(__file__).with_name("operations.json")
path.write_text(json.dumps({"torch": torch.__version__, "cases": cases}, separators=(",", ":")) + "\n")
print(path, path.stat().st_size, "bytes")
