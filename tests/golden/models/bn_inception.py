"""BN-Inception (Ioffe and Szegedy, 2015, figure 5), our own definition.

Every convolution is followed by batch normalisation and ReLU. The branches of a module: 1x1; 1x1 and 3x3; 1x1 and two
3x3; pooling (3x3, stride 1) and 1x1. Modules 3c and 4e halve the image: no 1x1 branch, stride 2 in each last 3x3, and
maximum pooling that passes its input through. Channels are the paper's table; outputs are what the branches sum up to.
"""

import torch
from torch import nn


class BasicConv(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, inputs, one, reduce3, three, reduce5, five, projection, average):
        super().__init__()
        stride = 1 if one else 2
        self.branch1 = BasicConv(inputs, one, 1) if one else None
        self.branch2 = nn.Sequential(BasicConv(inputs, reduce3, 1), BasicConv(reduce3, three, 3, stride))
        self.branch3 = nn.Sequential(BasicConv(inputs, reduce5, 1), BasicConv(reduce5, five, 3),
                                     BasicConv(five, five, 3, stride))
        pool = nn.AvgPool2d if average else nn.MaxPool2d
        self.branch4 = nn.Sequential(pool(3, stride, 1))
        if projection:
            self.branch4.append(BasicConv(inputs, projection, 1))

    def forward(self, x):
        branches = [self.branch1, self.branch2, self.branch3, self.branch4]
        return torch.cat([branch(x) for branch in branches if branch is not None], 1)


class BnInception(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = BasicConv(3, 64, 7, 2)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2 = BasicConv(64, 64, 1)
        self.conv3 = BasicConv(64, 192, 3)
        self.inception3a = Inception(192, 64, 64, 64, 64, 96, 32, True)
        self.inception3b = Inception(256, 64, 64, 96, 64, 96, 64, True)
        self.inception3c = Inception(320, 0, 128, 160, 64, 96, 0, False)
        self.inception4a = Inception(576, 224, 64, 96, 96, 128, 128, True)
        self.inception4b = Inception(576, 192, 96, 128, 96, 128, 128, True)
        self.inception4c = Inception(576, 160, 128, 160, 128, 160, 128, True)
        self.inception4d = Inception(608, 96, 128, 192, 160, 192, 128, True)
        self.inception4e = Inception(608, 0, 128, 192, 192, 256, 0, False)
        self.inception5a = Inception(1056, 352, 192, 320, 160, 224, 128, True)
        self.inception5b = Inception(1024, 352, 192, 320, 192, 224, 128, False)

    def forward(self, x):
        x = self.pool(self.conv1(x))
        x = self.pool(self.conv3(self.conv2(x)))
        for name in ["3a", "3b", "3c", "4a", "4b", "4c", "4d", "4e", "5a", "5b"]:
            x = getattr(self, f"inception{name}")(x)
        return x.mean((2, 3))
