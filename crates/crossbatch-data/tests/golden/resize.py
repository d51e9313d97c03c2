"""Writes the fixtures of tests/resize.rs with Pillow: `python resize.py` in this folder.

Each .txt has a line `source: width height channels`, a line `target: size channels`, then the bytes of
the source picture's resize by Pillow, planar, 28 numbers a line. The source pictures are made by the
formula below, the same in Rust and here.
"""

import numpy as np
import PIL
from PIL import Image


def picture(width, height, channels):
    y, x = np.mgrid[0:height, 0:width]
    gradient = (x * 255 // (width - 1) + y * 255 // (height - 1)) // 2
    checker = np.where((x // 7 + y // 5) % 2 == 0, gradient, 255 - gradient)
    planes = [checker, gradient, (x * 3 + y * 11) % 256]
    return np.stack(planes[:channels], -1).astype(np.uint8)


def write(name, width, height, channels, size, out):
    pixels = picture(width, height, channels)
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    image = image.convert("L" if out == 1 else "RGB")
    small = np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
    planar = small.reshape(size, size, out).transpose(2, 0, 1).reshape(-1, size)
    with open(f"{name}.txt", "w") as file:
        file.write(f"# Pillow {PIL.__version__}\n")
        file.write(f"source: {width} {height} {channels}\ntarget: {size} {out}\n")
        for row in planar:
            file.write(" ".join(map(str, row)) + "\n")


write("grey_105_to_28", 105, 105, 1, 28, 1)
write("grey_wide_to_28", 97, 40, 1, 28, 1)
write("colour_to_grey_28", 61, 83, 3, 28, 1)
write("colour_to_colour_14", 61, 83, 3, 14, 3)
write("grey_up_to_14", 9, 6, 1, 14, 3)
