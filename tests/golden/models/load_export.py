"""Loads an exported backbone into torchvision or timm and compares it with its ONNX file.

    crossbatch export RUN --format safetensors --backbone -o net.safetensors
    crossbatch export RUN --format safetensors -o all.safetensors
    crossbatch export RUN --format onnx -o net.onnx
    python tests/golden/models/load_export.py BACKBONE net.safetensors all.safetensors net.onnx

For a run with three channels and a linear head without layer normalisation. Every name must fit: PyTorch's counters of batches alone may be missing.
"""

import sys

import numpy as np
import onnxruntime
import torch
from safetensors.torch import load_file

from backbones import MODELS


def main():
    name, backbone, whole, onnx = sys.argv[1:]
    build = next(build for known, _, _, build in MODELS if known == name)
    model = build()
    missing, unexpected = model.load_state_dict(load_file(backbone), strict=False)
    assert not unexpected and all(key.endswith("num_batches_tracked") for key in missing), (missing, unexpected)
    model.eval()
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    size = session.get_inputs()[0].shape[2]
    head = load_file(whole)
    images = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        rows = model(images) @ head["head.weight"].T + head["head.bias"]
        expected = torch.nn.functional.normalize(rows).numpy()
    found, = session.run(["embeddings"], {"images": images.numpy()})
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    print(f"{name}: loaded {len(load_file(backbone))} tensors, relative error of the ONNX file {error:.2e}")
    assert error < 1e-4


if __name__ == "__main__":
    main()
