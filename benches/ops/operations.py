"""Times PyTorch's operations over cases.json; one line of JSON each, as crossbatch-kernels' example `operations` prints.

    python operations.py [OPERATION]
"""

import json
import math
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

torch.set_num_threads(2)
torch.manual_seed(1)
REPEATS, SECONDS = 5, 0.25


def inputs(case):
    shape = case["shape"]
    tensors = {
        "batch_norm_relu": [shape, [shape[1]], [shape[1]]] if len(shape) == 4 else None,
        "batch_norm_residual_relu": [shape, [shape[1]], [shape[1]], shape] if len(shape) == 4 else None,
        "layer_norm": [shape, shape[-1:], shape[-1:]],
        "linear": [shape, case["arguments"] + shape[-1:], case["arguments"]],
        "attention": [shape] * 3,
    }.get(case["operation"], [shape])
    return [torch.randn(*size, requires_grad=True) for size in tensors]


def run(case, x):
    a = case["arguments"]
    match case["operation"]:
        case "batch_norm_relu":
            return functional.relu(functional.batch_norm(x[0], None, None, x[1], x[2], training=True), inplace=True)
        case "batch_norm_residual_relu":
            output = functional.batch_norm(x[0], None, None, x[1], x[2], training=True)
            output += x[3]
            return functional.relu(output, inplace=True)
        case "max_pool":
            return functional.max_pool2d(x[0], *a)
        case "average_pool":
            return functional.avg_pool2d(x[0], *a)
        case "global_average_pool":
            return functional.adaptive_avg_pool2d(x[0], 1)
        case "layer_norm":
            return functional.layer_norm(x[0], case["shape"][-1:], x[1], x[2], 1e-6)
        case "gelu":
            return functional.gelu(x[0])
        case "linear":
            return functional.linear(*x)
        case "attention":
            return functional.scaled_dot_product_attention(*x)
        case "l2_normalize":
            return functional.normalize(x[0])


def measure(case):
    x = inputs(case)
    upstream = torch.randn_like(run(case, x))
    forward = backward = math.inf
    begin, count = time.perf_counter(), 0
    while count < REPEATS or time.perf_counter() - begin < SECONDS:
        for tensor in x:
            tensor.grad = None
        start = time.perf_counter()
        output = run(case, x)
        forward = min(forward, time.perf_counter() - start)
        loss = (output * upstream).sum()
        middle = time.perf_counter()
        loss.backward()
        backward = min(backward, time.perf_counter() - middle)
        count += 1
    print(json.dumps(case | {"forward": forward, "backward": backward}), flush=True)


for case in json.loads(Path(__file__).with_name("cases.json").read_text()):
    if len(sys.argv) < 2 or sys.argv[1] in case["operation"]:
        measure(case)
