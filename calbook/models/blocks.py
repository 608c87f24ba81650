"""The small parts that every network here is built from, and how they start out.

Residual blocks are torchvision's (``BasicBlock``, ``Bottleneck``): the ones the
published networks use, with the stride in the 3x3 convolution.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from calbook.geometry import Size
from calbook.options import check_choice

Initialization = Literal["published", "he"]

PUBLISHED_STD = 0.001  # every new convolution of SimpleBaseline, HRNet, UDP, CAL and MR*: N(0, 0.001)


def conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    """Convolution without bias that keeps the size (but for its stride), batch norm, and ReLU unless told otherwise."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def deconv(inputs: int, outputs: int) -> nn.ConvTranspose2d:
    """The 4x4 transposed convolution that doubles height and width."""
    return nn.ConvTranspose2d(inputs, outputs, kernel_size=4, stride=2, padding=1, bias=False)


def deconv_bn(inputs: int, outputs: int) -> nn.Sequential:
    """Doubling transposed convolution, batch norm, ReLU."""
    return nn.Sequential(deconv(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def basic_blocks(inputs: int, width: int, count: int) -> nn.Sequential:
    """``count`` residual blocks of two 3x3 convolutions, ``inputs`` to ``width`` channels."""
    widths = [inputs] + [width] * count
    return nn.Sequential(*(BasicBlock(a, b, downsample=_projection(a, b)) for a, b in pairwise(widths)))


def bottlenecks(inputs: int, planes: int, count: int) -> nn.Sequential:
    """``count`` residual blocks 1x1, 3x3, 1x1 of ``planes`` channels, leaving four times as many."""
    width = planes * Bottleneck.expansion
    widths = [inputs] + [width] * count
    return nn.Sequential(*(Bottleneck(a, planes, downsample=_projection(a, width)) for a in widths[:count]))


def _projection(inputs: int, outputs: int) -> nn.Sequential | None:
    """What a residual block's shortcut needs to reach ``outputs`` channels."""
    return conv_bn(inputs, outputs, kernel=1, relu=False) if inputs != outputs else None


class Upsample(nn.Module):
    """Repeat each pixel ``factor`` times in both directions (nearest neighbour)."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, C, factor * h, factor * w)``."""
        return F.interpolate(maps, scale_factor=float(self.factor), mode="nearest")

    def extra_repr(self) -> str:
        """The factor, for ``print(model)``."""
        return f"factor={self.factor}"


def initialize(module: nn.Module, scheme: Initialization) -> None:
    """Give every convolution and batch norm inside ``module`` its starting values.

    Args:
        module: Changed in place.
        scheme: ``"published"`` draws all weights from N(0, 0.001), as the papers'
            code does before it loads ImageNet weights over most of them;
            ``"he"`` draws them from N(0, 2 / fan_out) (He et al. 2015), but for
            the convolutions that predict maps, which start near 0 as their
            targets are. These are the ones with a bias (MRHeatNet's coarse
            predictions keep theirs although a batch norm follows). Biases are 0,
            batch norms the identity.

    Raises:
        ValueError: The scheme is unknown.
    """
    check_choice("initialization", scheme, Initialization)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            predicts = part.bias is not None  # no other convolution of the networks here has one
            if scheme == "published" or predicts:
                nn.init.normal_(part.weight, std=PUBLISHED_STD)
            else:
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


def accept_images(images: Tensor, divisor: int, advice: str) -> Tensor:
    """Refuse what a network cannot take, with the reason; lay out the rest as convolutions like it best.

    Args:
        images: What was given to ``forward``.
        divisor: What height and width must be multiples of.
        advice: What to do about a size that is not.

    Returns:
        The same pictures with the channels of each pixel side by side in memory
        (``channels_last``). The layers that follow keep this layout, which
        oneDNN and tensor cores work on without rearranging.

    Raises:
        ValueError: Not ``(B, 3, H, W)``, or H or W is no multiple of ``divisor``.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"expected pictures of shape (B, 3, H, W), got {tuple(images.shape)}")
    if images.shape[2] % divisor or images.shape[3] % divisor:
        raise ValueError(size_complaint((images.shape[2], images.shape[3]), divisor, advice))
    return images.contiguous(memory_format=torch.channels_last)


def size_complaint(size: Size, divisor: int, advice: str) -> str:
    """Why an input size is refused, with the nearest one that is not."""
    fitting = "x".join(str(max(divisor, round(side / divisor) * divisor)) for side in size)
    return (
        f"input size {size[0]}x{size[1]}: height and width must be multiples of {divisor}, "
        f"since the network halves them until 1/{divisor}; the nearest such size is {fitting}; {advice}"
    )
