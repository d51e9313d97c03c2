"""Loads a run's weights into PyTorch and compares embeddings with those that crossbatch wrote.

    crossbatch embed RUN IMAGES -o embeddings.safetensors
    python tests/golden/models/load_run.py RUN embeddings.safetensors IMAGES

For a run with one channel and ink on paper (glyphs, Omniglot). Differences of about 1e-3 come from the
resizing, which agrees with Pillow's to one grey level.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from make import Embedder


def pixels(path):
    image = Image.open(path).convert("L").resize((28, 28), Image.Resampling.BILINEAR)
    return torch.from_numpy(1 - np.asarray(image, dtype=np.float32) / 255)[None]


def main():
    run, embeddings, images = map(pathlib.Path, sys.argv[1:])
    weights = load_file(run / "last.safetensors")
    model = Embedder(embedding=len(weights["head.bias"]))
    print(model.load_state_dict(weights, strict=True))
    model.eval()
    with safe_open(embeddings, "numpy") as file:
        found, names = file.get_tensor("embeddings"), json.loads(file.metadata()["names"])
    with torch.no_grad():
        expected = model(torch.stack([pixels(images / name) for name in names])).numpy()
    print(f"{len(names)} images: largest difference {abs(found - expected).max():.2e}, "
          f"lowest cosine {(found * expected).sum(1).min():.7f}")


if __name__ == "__main__":
    main()
