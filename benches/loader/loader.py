"""Images for the benchmark of the loader, and its peer: torchvision with Pillow.

    loader.py prepare DATA OUT            packs of DATA into folders of OUT, and JPEGs enlarged to 1,600 pixels
    loader.py decode|train FOLDER THREADS SECONDS

The peer does what crates/crossbatch-data/examples/loader.rs does: `decode` decodes on one thread, `train` runs a
DataLoader with THREADS worker processes and batches of 64.
"""

import io
import sys
import time
import zipfile
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

PACKS = {
    "cub127": "CUB_200_2011.zip",
    "cars196_crops": "cars_train_crops.zip",
    "grocery81": "grocery_store.zip",
    "sop_sample": "Stanford_Online_Products_sample.zip",
}
IMAGES, LARGE = 512, 128


def prepare(data, out):
    for pack, archive in PACKS.items():
        with zipfile.ZipFile(data / pack / archive) as files:
            names = sorted(name for name in files.namelist() if name.lower().endswith((".jpg", ".jpeg")))
            step = max(1, len(names) // IMAGES)
            for number, name in enumerate(names[::step][:IMAGES]):
                folder = out / pack / f"c{number % 8}"
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{number}.jpg").write_bytes(files.read(name))
    for pack in ("sop_sample", "grocery81"):
        files = sorted((out / pack).rglob("*.jpg"))[: LARGE // 2]
        for number, file in enumerate(files):
            image = Image.open(file).convert("RGB")
            factor = 1600 / max(image.size)
            image = image.resize([round(side * factor) for side in image.size], Image.Resampling.BICUBIC)
            folder = out / "large" / f"c{number % 8}"
            folder.mkdir(parents=True, exist_ok=True)
            image.save(folder / f"{pack}{number}.jpg", quality=90)


class Files(torch.utils.data.Dataset):
    def __init__(self, folder):
        self.files = sorted(folder.rglob("*.jpg"))
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            ]
        )

    def __len__(self):
        return 1 << 20

    def __getitem__(self, index):
        return self.transform(Image.open(self.files[index % len(self.files)]).convert("RGB"))


def main():
    mode, *rest = sys.argv[1:]
    if mode == "prepare":
        return prepare(Path(rest[0]), Path(rest[1]))
    folder, threads, seconds = Path(rest[0]), int(rest[1]), float(rest[2])
    torch.set_num_threads(1)
    if mode == "decode":
        files = sorted(folder.rglob("*.jpg"))
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            Image.open(io.BytesIO(files[done % len(files)].read_bytes())).convert("RGB")
            done += 1
    else:
        loader = torch.utils.data.DataLoader(Files(folder), batch_size=64, num_workers=threads)
        batches = iter(loader)
        next(batches)  # the workers have started
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < seconds:
            done += len(next(batches))
    print(f"torchvision {mode} {threads} {done / (time.perf_counter() - started):.1f}", flush=True)


if __name__ == "__main__":
    main()
