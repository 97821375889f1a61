"""ResNet-18 with the CIFAR stem or the ImageNet stem."""

from torch import nn


def resnet18(channels: int, classes: int, *, imagenet_stem: bool) -> nn.Module:
    """Build torchvision's ResNet-18 (He et al. 2016), untrained.

    The CIFAR stem is one 3×3 convolution of stride 1 without pooling: 11,173,962 parameters for
    3 → 10. The ImageNet stem shrinks 32×32 images to 8×8 before the first block.
    """
    from torchvision.models import resnet18 as build  # takes half of a short job's start-up

    network: nn.Module = build(num_classes=classes)
    if imagenet_stem:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    else:
        network.conv1 = nn.Conv2d(channels, 64, 3, stride=1, padding=1, bias=False)
        network.maxpool = nn.Identity()
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network
