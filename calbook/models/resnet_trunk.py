"""The ResNet encoder under SimpleBaseline and the multi-resolution networks: torchvision's, without its classifier."""

from torch import Tensor, nn
from torchvision.models import resnet

TRUNKS = {
    "r18": (resnet.resnet18, resnet.ResNet18_Weights.IMAGENET1K_V1),  # for laptops
    "r50": (resnet.resnet50, resnet.ResNet50_Weights.IMAGENET1K_V1),
    "r101": (resnet.resnet101, resnet.ResNet101_Weights.IMAGENET1K_V1),
    "r152": (resnet.resnet152, resnet.ResNet152_Weights.IMAGENET1K_V1),
}
DIVISOR = 32  # the stride of the coarsest maps


class ResNetTrunk(nn.Module):
    """Maps of a ResNet's four stages.

    Args:
        depth: One of ``TRUNKS``.
        imagenet: Start from torchvision's ImageNet weights (downloaded once).
            They expect RGB in [0, 1] normalized by the ImageNet mean and deviation.
    """

    def __init__(self, depth: str, imagenet: bool = False) -> None:
        super().__init__()
        build, weights = TRUNKS[depth]
        full = build(weights=weights if imagenet else None)
        self.stem = nn.Sequential(full.conv1, full.bn1, full.relu, full.maxpool)
        self.stage1, self.stage2, self.stage3, self.stage4 = full.layer1, full.layer2, full.layer3, full.layer4
        top = full.fc.in_features
        self.widths = (top // 8, top // 4, top // 2, top)  # 256, 512, 1024, 2048 from ResNet-50 on

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pictures ``(B, 3, H, W)`` to maps at 1/4, 1/8, 1/16 and 1/32 of their size."""
        x1 = self.stage1(self.stem(images))  # (B, 256, H/4, W/4)
        x2 = self.stage2(x1)  # (B, 512, H/8, W/8)
        x3 = self.stage3(x2)  # (B, 1024, H/16, W/16)
        x4 = self.stage4(x3)  # (B, 2048, H/32, W/32)
        return x1, x2, x3, x4
