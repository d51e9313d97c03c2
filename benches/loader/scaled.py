"""What decoding a JPEG at a fraction of its size saves: libjpeg-turbo through Pillow's `draft`.

    python benches/loader/scaled.py DATA

Twelve photographs of sop_sample enlarged to 1,600 pixels (bicubic, quality 90); processor time of a decode, the best of
three rounds, in milliseconds.
"""

import io
import pathlib
import sys
import time
import zipfile

from PIL import Image

archive = zipfile.ZipFile(pathlib.Path(sys.argv[1]) / "sop_sample/Stanford_Online_Products_sample.zip")
names = [name for name in archive.namelist() if name.lower().endswith(".jpg")][:12]
files = []
for name in names:
    picture = Image.open(io.BytesIO(archive.read(name))).convert("RGB")
    scale = 1600 / max(picture.size)
    picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.BICUBIC)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    files.append(out.getvalue())

for part in [1, 2, 4, 8]:
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for file in files:
            picture = Image.open(io.BytesIO(file))
            if part > 1:
                picture.draft("RGB", [side // part for side in picture.size])
            picture.load()
        rounds.append(time.process_time() - start)
    print(f"1/{part}: {min(rounds) / len(files) * 1000:.1f} ms")
