"""Writes layers.csv: the distinct convolutions of each network, and how often it has each.

    pip install -r requirements.txt torchvision
    python layers.py > layers.csv

BN-Inception is written out (Ioffe and Szegedy 2015, figure 5); the others are torchvision's.
"""

import collections

import torch
import torchvision


def of_model(model, batch, channels, size):
    found = []

    def note(layer, inputs, _output):
        _, c, h, w = inputs[0].shape
        first = int(not found)
        found.append(
            (batch, c, layer.out_channels, h, w, layer.kernel_size[0], layer.stride[0], layer.padding[0],
             layer.groups, int(layer.bias is not None), first)
        )

    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(note)
    with torch.no_grad():
        model.eval()(torch.zeros(1, channels, size, size))
    return found


def bn_inception(batch):
    rows = [(batch, 3, 64, 224, 224, 7, 2, 3, 1, 0, 1), (batch, 64, 64, 56, 56, 1, 1, 0, 1, 0, 0),
            (batch, 64, 192, 56, 56, 3, 1, 1, 1, 0, 0)]
    # Input, size, stride, 1x1, 3x3 reduce, 3x3, double 3x3 reduce, double 3x3, pool projection.
    blocks = [
        (192, 28, 1, 64, 64, 64, 64, 96, 32), (256, 28, 1, 64, 64, 96, 64, 96, 64), (320, 28, 2, 0, 128, 160, 64, 96, 0),
        (576, 14, 1, 224, 64, 96, 96, 128, 128), (576, 14, 1, 192, 96, 128, 96, 128, 128),
        (576, 14, 1, 160, 128, 160, 128, 160, 128), (608, 14, 1, 96, 128, 192, 160, 192, 128),
        (608, 14, 2, 0, 128, 192, 192, 256, 0), (1056, 7, 1, 352, 192, 320, 160, 224, 128),
        (1024, 7, 1, 352, 192, 320, 192, 224, 128),
    ]
    for c, size, stride, one, reduce, three, double_reduce, double, pool in blocks:
        def conv(c, o, k, s):
            rows.append((batch, c, o, size, size, k, s, k // 2, 1, 0, 0))
        if one:
            conv(c, one, 1, 1)
        conv(c, reduce, 1, 1)
        conv(reduce, three, 3, stride)
        conv(c, double_reduce, 1, 1)
        conv(double_reduce, double, 3, 1)
        conv(double, double, 3, stride)
        if pool:
            conv(c, pool, 1, 1)
    return rows


def main():
    models = torchvision.models
    networks = {
        "conv4": [(64, 1, 64, 28, 28, 3, 1, 1, 1, 0, 1)] + [(64, 64, 64, s, s, 3, 1, 1, 1, 0, 0) for s in (14, 7, 3)],
        "resnet18": of_model(models.resnet18(), 32, 3, 112),
        "resnet50": of_model(models.resnet50(), 8, 3, 224),
        "googlenet": of_model(models.googlenet(aux_logits=False, init_weights=False), 8, 3, 224),
        "bn_inception": bn_inception(8),
        "vit_s16": [(8, 3, 384, 224, 224, 16, 16, 0, 1, 1, 1)],
        "convnext_tiny": of_model(models.convnext_tiny(), 8, 3, 224),
        "mobilenet_v2": of_model(models.mobilenet_v2(), 8, 3, 224),
    }
    print("network,count,batch,channels,filters,height,width,kernel,stride,padding,groups,bias,first")
    for network, rows in networks.items():
        for row, count in collections.Counter(rows).items():
            print(",".join(map(str, (network, count) + row)))


if __name__ == "__main__":
    main()
