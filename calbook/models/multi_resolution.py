"""Multi-resolution heatmaps and features: MRHeatNet1/2 and MRFeaNet1/2.

Tran et al., *Simple Multi-Resolution Representation Learning for Human Pose
Estimation*, ICPR 2020. Both start from SimpleBaseline. MRHeatNet predicts
heatmaps from every deconvolution's output and adds them up; MRFeaNet brings
the features of every ResNet stage to a quarter of the input and averages them
before the only prediction.
"""

from itertools import pairwise

from torch import Tensor, nn

from calbook.models.blocks import accept_images, conv_bn, deconv, deconv_bn
from calbook.models.resnet_trunk import DIVISOR, ResNetTrunk
from calbook.models.simple_baseline import FILTERS
from calbook.poses import PoseMaps


def _score(num_joints: int) -> nn.Sequential:
    """Features to low-resolution heatmaps: 1x1 convolution (with bias, as published), batch norm, ReLU."""
    _, norm, relu = conv_bn(FILTERS, num_joints, kernel=1)
    return nn.Sequential(nn.Conv2d(FILTERS, num_joints, kernel_size=1), norm, relu)


class MRHeatNet(nn.Module):
    """Multi-resolution heatmaps: predictions at 1/16, 1/8 and 1/4, summed at 1/4.

    Args:
        depth: One of ``resnet_trunk.TRUNKS``.
        num_joints: Joints, K.
        cascade: True for MRHeatNet1, where the coarsest heatmaps pass through
            the next resolution; False for MRHeatNet2, where every resolution
            finds its own way to 1/4.
        imagenet: Start the encoder from torchvision's ImageNet weights.
    """

    def __init__(self, depth: str, num_joints: int, cascade: bool, imagenet: bool = False) -> None:
        super().__init__()
        self.cascade = cascade
        self.trunk = ResNetTrunk(depth, imagenet)
        self.deconv1 = deconv_bn(self.trunk.widths[-1], FILTERS)
        self.deconv2 = deconv_bn(FILTERS, FILTERS)
        self.deconv3 = deconv_bn(FILTERS, FILTERS)
        self.predict = nn.Conv2d(FILTERS, num_joints, kernel_size=1)
        self.score16 = _score(num_joints)
        self.score8 = _score(num_joints)
        self.lift16 = deconv_bn(num_joints, num_joints)  # 1/16 to 1/8
        self.lift8 = deconv(num_joints, num_joints)  # 1/8 to 1/4
        if not cascade:
            self.lift16_again = deconv(num_joints, num_joints)  # the coarsest's own way from 1/8 to 1/4

    def forward(self, images: Tensor) -> PoseMaps:
        """Pictures ``(B, 3, H, W)`` to heatmaps ``(B, K, H/4, W/4)``."""
        images = accept_images(images, DIVISOR, "resize or pad the pictures")
        d1 = self.deconv1(self.trunk(images)[-1])  # (B, 256, H/16, W/16)
        d2 = self.deconv2(d1)  # (B, 256, H/8, W/8)
        fine = self.predict(self.deconv3(d2))  # (B, K, H/4, W/4)
        middle = self.score8(d2)  # (B, K, H/8, W/8)
        coarse = self.lift16(self.score16(d1))  # (B, K, H/8, W/8)
        if self.cascade:
            return PoseMaps(heatmaps=(fine + self.lift8(middle + coarse)).contiguous())
        return PoseMaps(heatmaps=(fine + self.lift8(middle) + self.lift16_again(coarse)).contiguous())


class MRFeaNet(nn.Module):
    """Multi-resolution features: the mean of all ResNet stages at 1/4 of the input.

    Args:
        depth: One of ``resnet_trunk.TRUNKS``.
        num_joints: Joints, K.
        halving: False for MRFeaNet1, whose deconvolutions have the finest stage's
            width throughout; True for MRFeaNet2, where each halves the width.
        imagenet: Start the encoder from torchvision's ImageNet weights.
    """

    def __init__(self, depth: str, num_joints: int, halving: bool, imagenet: bool = False) -> None:
        super().__init__()
        self.trunk = ResNetTrunk(depth, imagenet)
        finest = self.trunk.widths[0]  # 256 from ResNet-50 on
        ways = []
        for doublings, width in enumerate(self.trunk.widths):
            widths = [width // 2**i if halving else finest for i in range(1, doublings + 1)]
            ways.append(nn.Sequential(*(deconv_bn(a, b) for a, b in pairwise([width, *widths]))))
        self.ways = nn.ModuleList(ways)  # stage i, at 1/4 / 2^i, takes i deconvolutions
        self.predict = nn.Conv2d(finest, num_joints, kernel_size=1)

    def forward(self, images: Tensor) -> PoseMaps:
        """Pictures ``(B, 3, H, W)`` to heatmaps ``(B, K, H/4, W/4)``."""
        images = accept_images(images, DIVISOR, "resize or pad the pictures")
        x1, x2, x3, x4 = (way(stage) for way, stage in zip(self.ways, self.trunk(images), strict=True))
        mean = (x1 + x2 + x3 + x4) / 4  # (B, 256, H/4, W/4)
        return PoseMaps(heatmaps=self.predict(mean).contiguous())
