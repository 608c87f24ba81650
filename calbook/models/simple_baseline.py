"""SimpleBaseline: a ResNet, three deconvolutions and nothing else.

Xiao et al., *Simple Baselines for Human Pose Estimation and Tracking*, ECCV 2018, figure 1.
"""

from itertools import pairwise

from torch import Tensor, nn

from calbook.models.blocks import accept_images, deconv_bn
from calbook.models.resnet_trunk import DIVISOR, ResNetTrunk
from calbook.poses import PoseMaps

FILTERS = 256  # channels of every deconvolution


class SimpleBaseline(nn.Module):
    """ResNet encoder, three doubling deconvolutions, one 1x1 convolution.

    The encoder goes down to 1/32, so the input's sides must be multiples of 32.

    Args:
        depth: One of ``resnet_trunk.TRUNKS``.
        num_joints: Joints, K.
        imagenet: Start the encoder from torchvision's ImageNet weights.
    """

    def __init__(self, depth: str, num_joints: int, imagenet: bool = False) -> None:
        super().__init__()
        self.trunk = ResNetTrunk(depth, imagenet)
        widths = (self.trunk.widths[-1], FILTERS, FILTERS, FILTERS)
        self.deconvs = nn.Sequential(*(deconv_bn(a, b) for a, b in pairwise(widths)))
        self.predict = nn.Conv2d(FILTERS, num_joints, kernel_size=1)

    def forward(self, images: Tensor) -> PoseMaps:
        """Pictures ``(B, 3, H, W)`` to heatmaps ``(B, K, H/4, W/4)``."""
        images = accept_images(images, DIVISOR, "resize or pad the pictures")
        coarse = self.trunk(images)[-1]  # (B, 2048, H/32, W/32)
        return PoseMaps(heatmaps=self.predict(self.deconvs(coarse)).contiguous())
