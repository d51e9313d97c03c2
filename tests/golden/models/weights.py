"""Writes weights/: the state dict of a ResNet-18 with 2 instead of 64 channels as PyTorch's files come.

    python tests/golden/models/weights.py

`thin_resnet.pth` is today's zip, `thin_resnet_old.pth` the format before PyTorch 1.6, `thin_resnet_checkpoint.pth` a
checkpoint in half precision of a network in DataParallel, beside an epoch and an optimiser's settings.
"""

import pathlib

import torch
import torchvision
from safetensors.torch import save_file

from backbones import fill

FOLDER = pathlib.Path(__file__).with_name("weights")


class Thin(torchvision.models.ResNet):
    """torchvision's own layers, with `width` channels in the first."""

    def __init__(self, width=2):
        block = torchvision.models.resnet.BasicBlock
        super().__init__(block, [2, 2, 2, 2], num_classes=3)
        self.inplanes = width
        self.conv1 = torch.nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.layer1 = self._make_layer(block, width, 2)
        self.layer2 = self._make_layer(block, 2 * width, 2, stride=2)
        self.layer3 = self._make_layer(block, 4 * width, 2, stride=2)
        self.layer4 = self._make_layer(block, 8 * width, 2, stride=2)
        self.fc = torch.nn.Linear(8 * width, 3)


def main():
    FOLDER.mkdir(exist_ok=True)
    model = Thin()
    fill(model)
    state = model.state_dict()
    torch.save(state, FOLDER / "thin_resnet.pth")
    torch.save(state, FOLDER / "thin_resnet_old.pth", _use_new_zipfile_serialization=False)
    save_file(state, FOLDER / "thin_resnet.safetensors")
    half = {f"module.{name}": tensor.half() if tensor.is_floating_point() else tensor
            for name, tensor in state.items()}
    checkpoint = {"epoch": 3, "arch": "thin", "state_dict": half, "lr": 0.1}
    torch.save(checkpoint, FOLDER / "thin_resnet_checkpoint.pth")


if __name__ == "__main__":
    main()
