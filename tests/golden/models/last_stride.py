"""Writes last_stride.json: backbones.json's form and formula, for torchvision's resnets whose last layer keeps its size.

    python tests/golden/models/last_stride.py

The stride of layer4's first block becomes 1: of its first 3x3 in a basic block, of its 3x3 in a bottleneck, and of its shortcut.
"""

import json

from backbones import HERE, from_torchvision, golden


def keeps_its_size(name):
    model = from_torchvision(name)
    block = model.layer4[0]
    for layer in [block.conv1, block.conv2, block.downsample[0]]:
        layer.stride = (1, 1)
    return model


out = {name: golden(64, lambda: keeps_its_size(name)) for name in ["resnet18", "resnet50"]}
(HERE / "last_stride.json").write_text(json.dumps(out, separators=(",", ":")) + "\n")
