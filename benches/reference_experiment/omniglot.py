"""The reference experiment in PyTorch: recipes/reference/omniglot.toml and omniglot-memory.toml.

    python benches/reference_experiment/omniglot.py DATA [--memory] [--seed N] [--steps N]

DATA is the folder with images_background.zip and images_evaluation.zip. Prints R@1 and MAP@R on the
659 unseen classes.
"""

import argparse
import io
import zipfile

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F


def load(path):
    archive = zipfile.ZipFile(path)
    images, labels, names = [], [], {}
    for name in sorted(archive.namelist()):
        if not name.endswith(".png"):
            continue
        image = Image.open(io.BytesIO(archive.read(name))).convert("L")
        image = image.resize((28, 28), Image.Resampling.BILINEAR)
        images.append(1 - np.asarray(image, dtype=np.float32) / 255)
        labels.append(names.setdefault(name.rsplit("/", 1)[0], len(names)))
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(labels)


class Conv4(nn.Module):
    def __init__(self):
        super().__init__()
        layers, channels = [], 1
        for block in range(4):
            layers += [nn.Conv2d(channels, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
            if block < 3:
                layers.append(nn.MaxPool2d(2))
            channels = 64
        self.body = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(576, 128)

    def forward(self, x):
        return F.normalize(self.head(self.body(x)))


def contrastive(anchors, labels, references, reference_labels, own, margin=0.5):
    similarity = anchors @ references.T
    same = labels[:, None] == reference_labels[None]
    positive = same.clone()
    positive[torch.arange(len(anchors)), own] = False
    negative = ~same & (similarity > margin)
    return ((1 - similarity)[positive].sum() + similarity[negative].sum()) / len(anchors)


@torch.no_grad()
def measure(model, images, labels):
    model.eval()
    embeddings = torch.cat([model(part) for part in images.split(512)])
    model.train()
    hits, precision = 0, 0.0
    for start in range(0, len(images), 1000):
        rows = slice(start, start + 1000)
        similarity = embeddings[rows] @ embeddings.T
        similarity[torch.arange(len(similarity)), start + torch.arange(len(similarity))] = -2
        order = similarity.topk(19).indices
        right = (labels[order] == labels[rows][:, None]).float()
        hits += right[:, 0].sum().item()
        at = right.cumsum(1) / torch.arange(1, 20)
        precision += ((at * right).sum(1) / 19).sum().item()
    return hits / len(images), precision / len(images)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    random = np.random.default_rng(args.seed)

    images, labels = load(f"{args.data}/images_background.zip")
    members = [torch.nonzero(labels == label)[:, 0] for label in range(int(labels.max()) + 1)]
    model = Conv4()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=5e-4)
    size, start, cursor, filled = 9640, 200, 0, 0
    bank, bank_labels = torch.zeros(size, 128), torch.zeros(size, dtype=torch.long)

    for step in range(1, args.steps + 1):
        classes = random.choice(len(members), 16, replace=False)
        batch = torch.cat([members[c][random.choice(len(members[c]), 4, replace=False)] for c in classes])
        anchors, targets = model(images[batch]), labels[batch]
        loss = contrastive(anchors, targets, anchors, targets, torch.arange(64))
        if args.memory and step > start:
            slots = (cursor + torch.arange(64)) % size
            bank[slots], bank_labels[slots] = anchors.detach(), targets
            cursor, filled = (cursor + 64) % size, min(filled + 64, size)
            loss = loss + contrastive(anchors, targets, bank[:filled].clone(), bank_labels[:filled], slots)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 500 == 0:
            print(f"step {step} loss {loss.item():.4f}", flush=True)

    recall, precision = measure(model, *load(f"{args.data}/images_evaluation.zip"))
    print(f"seed {args.seed} memory {args.memory}: R@1 {recall:.4f} MAP@R {precision:.4f}")


if __name__ == "__main__":
    main()
