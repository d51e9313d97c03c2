"""Writes transforms.txt for tests/transforms.rs with torchvision (Pillow backend): `python transforms.py` in this
folder, with the packages of requirements.txt.

A case is a line `case NAME`, for files a line `file HEX` with the encoded bytes, and a line `pixels HEX` with the
planar result. Pictures are drawn by the formula below, the same in Rust and here. tests/transforms.rs knows what each
name stands for.
"""

import io

import numpy as np
import PIL
import torchvision
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

BILINEAR, BICUBIC = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC
out = open("transforms.txt", "w")
out.write(f"# torchvision {torchvision.__version__}, Pillow {PIL.__version__}\n")


def picture(width, height):
    y, x = np.mgrid[0:height, 0:width]
    gradient = (x * 255 // (width - 1) + y * 255 // (height - 1)) // 2
    checker = np.where((x // 7 + y // 5) % 2 == 0, gradient, 255 - gradient)
    return Image.fromarray(np.stack([checker, gradient, (x * 3 + y * 11) % 256], -1).astype(np.uint8))


def case(name, image, file=None):
    pixels = np.asarray(image)
    planar = pixels.transpose(2, 0, 1) if pixels.ndim == 3 else pixels
    out.write(f"case {name}\n")
    if file is not None:
        out.write(f"file {file.hex()}\n")
    out.write(f"pixels {planar.tobytes().hex()}\n")


wide, tall, small = picture(97, 61), picture(61, 97), picture(24, 24)
# top, left, height, width
case("crop", F.resized_crop(wide, 7, 13, 41, 52, [16, 16], BILINEAR))
case("crop-bicubic", F.resized_crop(wide, 7, 13, 41, 52, [16, 16], BICUBIC))
case("crop-up", F.resized_crop(wide, 50, 80, 9, 11, [24, 24], BILINEAR))
case("crop-up-bicubic", F.resized_crop(wide, 50, 80, 9, 11, [24, 24], BICUBIC))
case("crop-corner", F.resized_crop(tall, 0, 0, 96, 60, [16, 16], BILINEAR))
case("crop-flip", F.hflip(F.resized_crop(tall, 11, 3, 50, 40, [16, 16], BILINEAR)))
for name, image in [("wide", wide), ("tall", tall)]:
    case(f"centre-{name}", F.center_crop(F.resize(image, 20, BILINEAR), [16, 16]))
    case(f"centre-{name}-bicubic", F.center_crop(F.resize(image, 20, BICUBIC), [16, 16]))
    case(f"centre-{name}-up", F.center_crop(F.resize(image, 75, BILINEAR), [24, 24]))
for name, change, factors in [
    ("brightness", F.adjust_brightness, [0.37, 1.7]),
    ("contrast", F.adjust_contrast, [0.37, 1.7]),
    ("saturation", F.adjust_saturation, [0.37, 1.7]),
    ("hue", F.adjust_hue, [0.1, -0.23, 0.5]),
]:
    for factor in factors:
        case(f"{name} {factor}", change(small, factor))
case("grey", F.rgb_to_grayscale(small, 3))
case("grey-network", F.rgb_to_grayscale(small, 1))
chain = F.adjust_hue(F.adjust_contrast(F.adjust_saturation(F.adjust_brightness(small, 1.2), 0.8), 1.3), -0.07)
case("chain", chain)


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


smooth = Image.fromarray(
    np.stack([np.add.outer(np.arange(24) * 4, np.arange(24) * 5) + 20 * c for c in range(3)], -1).astype(np.uint8)
)
orientation = Image.Exif()
orientation[0x0112] = 6
files = {
    "jpeg-444": encoded(small, format="JPEG", quality=95, subsampling=0),
    "jpeg-420": encoded(smooth, format="JPEG", quality=90),
    "jpeg-progressive": encoded(smooth, format="JPEG", quality=90, progressive=True),
    "jpeg-grey": encoded(smooth.convert("L"), format="JPEG", quality=90),
    "jpeg-cmyk": encoded(smooth.convert("CMYK"), format="JPEG", quality=95),
    "jpeg-turned": encoded(smooth, format="JPEG", quality=90, exif=orientation),
    "png-palette": encoded(small.quantize(16), format="PNG"),
    "gif": encoded(small.quantize(16), format="GIF"),
    "webp": encoded(small, format="WEBP", lossless=True),
    "bmp": encoded(small, format="BMP"),
}
for name, data in files.items():
    image = Image.open(io.BytesIO(data))
    if name == "jpeg-turned":
        from PIL import ImageOps

        image = ImageOps.exif_transpose(image)
    case(name, image.convert("RGB"), data)
