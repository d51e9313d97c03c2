"""Runs exported networks in onnxruntime and compares their embeddings with ours.

    cargo run --release --example onnx -- DIR
    python tests/onnx/check.py DIR

Every file is checked by onnx's own checker, loaded, and run on all images and on one alone. A relative L2 error above
1e-4 is a failure.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file


def main():
    worst, files = 0.0, sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
    for path in files:
        onnx.checker.check_model(str(path), full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        data = load_file(path.with_suffix(".safetensors"))
        for count in (len(data["images"]), 1):
            found, = session.run(["embeddings"], {"images": data["images"][:count]})
            expected = data["embeddings"][:count]
            error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
            worst = max(worst, error)
            print(f"{path.stem}: {count} images, relative error {error:.2e}", flush=True)
    print(f"{len(files)} networks, largest error {worst:.2e}")
    sys.exit(0 if files and worst <= 1e-4 else 1)


if __name__ == "__main__":
    main()
