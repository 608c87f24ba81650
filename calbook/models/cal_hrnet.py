"""CAL's network: one HRNet trunk, two branches from the third transition on.

Wang et al., *Low-resolution Human Pose Estimation*, Pattern Recognition 126
(2022): coarse heatmaps and fine offsets are different tasks, so the last stage
is not shared between them:

                                 +- transition 3 - stage 4 - head - heatmaps
    stem - stage 1 ... stage 3 --+
                                 +- transition 3 - stage 4 - head - offsets
"""

from dataclasses import replace

from torch import Tensor, nn

from calbook.models.hrnet import PredictionBranch, Table, Trunk
from calbook.poses import PoseMaps


class CALHRNet(nn.Module):
    """Two-branch HRNet of confidence-aware learning.

    Args:
        table: Sizes of the HRNet, one of ``hrnet.TABLES`` or a smaller one.
        num_joints: Joints, K.
        head_blocks: Residual blocks in each head: 2 in the published code and in
            table 1 of the paper (110.3 M parameters for W48), 1 in its table 9
            (110.2 M).
        offset_width: Width of the offset branch's finest resolution, where it
            differs from the heatmap branch's. The published configuration for
            W48 at 128x96 has 144 (117.2 M parameters); the paper's has 48.

    Raises:
        ValueError: The offset branch has no channels.

    >>> import torch
    >>> from calbook.models.hrnet import TABLES
    >>> maps = CALHRNet(TABLES["tiny"], num_joints=17)(torch.zeros(1, 3, 64, 48))
    >>> maps.heatmaps.shape, maps.offsets.shape
    (torch.Size([1, 17, 16, 12]), torch.Size([1, 17, 2, 16, 12]))
    """

    def __init__(self, table: Table, num_joints: int, head_blocks: int = 2, offset_width: int | None = None) -> None:
        super().__init__()
        self.num_joints = num_joints
        finest = table.stage4.widths[0] if offset_width is None else offset_width
        if finest < 1:
            raise ValueError(f"offset_width must be at least 1, got {finest}")
        offset_table = replace(table, stage4=replace(table.stage4, widths=(finest, *table.stage4.widths[1:])))
        self.trunk = Trunk(table)
        self.heatmap_branch = PredictionBranch(table, num_joints, head_blocks)
        self.offset_branch = PredictionBranch(offset_table, 2 * num_joints, head_blocks)

    def forward(self, images: Tensor) -> PoseMaps:
        """Pictures ``(B, 3, H, W)`` to heatmaps ``(B, K, h, w)`` and offsets ``(B, K, 2, h, w)``."""
        trunk = self.trunk(images)
        heatmaps = self.heatmap_branch(trunk)
        offsets = self.offset_branch(trunk).unflatten(1, (self.num_joints, 2))  # x0, y0, x1, y1, ...
        return PoseMaps(heatmaps=heatmaps, offsets=offsets)
