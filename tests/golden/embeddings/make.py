"""Small files of embeddings as NumPy and PyTorch write them, next to this script.

All hold the same five vectors of three numbers, which f16 and bf16 represent exactly, and the same labels.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.lib import format as npy
from safetensors.torch import save_file

HERE = Path(__file__).parent
VECTORS = np.array(
    [[1.0, -2.0, 0.5], [0.0, 3.0, 4.0], [-0.25, 8.0, 1.5], [2.0, 2.0, -16.0], [0.125, -1.0, 6.0]]
)
TEXTS = np.array(["pear", "apple", "pear", "plum", "äpfel"])
NUMBERS = np.array([7, -3, 7, 2**40, 0])


def main():
    for name, dtype in [("f2", "<f2"), ("f4", "<f4"), ("f8", "<f8"), ("big", ">f4")]:
        np.save(HERE / f"{name}.npy", VECTORS.astype(dtype))
    np.save(HERE / "fortran.npy", np.asfortranarray(VECTORS.astype("float32")))
    for version in (2, 3):
        with open(HERE / f"version{version}.npy", "wb") as file:
            npy.write_array(file, VECTORS.astype("float32"), version=(version, 0))
    np.save(HERE / "objects.npy", np.array([VECTORS[0].tolist(), "pear"], dtype=object))
    np.save(HERE / "records.npy", np.array([(1.0, 2)], dtype=[("x", "<f4"), ("y", "<i4")]))

    np.save(HERE / "labels_i8.npy", NUMBERS)
    np.save(HERE / "labels_u1.npy", np.array([7, 3, 7, 2, 0], dtype="uint8"))
    np.save(HERE / "labels_big.npy", NUMBERS.astype(">i8"))
    np.save(HERE / "labels_text.npy", TEXTS)
    np.save(HERE / "labels_bytes.npy", np.array([b"pear", b"apple", b"pear", b"plum", b"fig"]))

    arrays = dict(
        embeddings=VECTORS.astype("float32"), labels=TEXTS, camera=np.array([0, 1, 0, 1, 2]), ids=NUMBERS
    )
    np.savez(HERE / "stored.npz", **arrays)
    np.savez_compressed(HERE / "deflated.npz", **arrays)

    labels = torch.from_numpy(NUMBERS)
    for name, dtype in [("f32", torch.float32), ("f16", torch.float16), ("bf16", torch.bfloat16), ("f64", torch.float64)]:
        vectors = torch.from_numpy(VECTORS).to(dtype)
        save_file({"embeddings": vectors, "labels": labels}, HERE / f"{name}.safetensors")
    save_file({"features": torch.from_numpy(VECTORS).float()}, HERE / "other_name.safetensors")


main()
