"""The integral codec: the joint is the mean of the map, not its peak.

Sun et al. 2018 (*Integral Human Pose Regression*): reading the expectation
k = sum_p p P(p) instead of the argmax makes decoding differentiable, so that the
loss can be on coordinates. The mean leans towards the middle of the map as soon
as P has weight far from the joint.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from calbook.codecs.base import Codec
from calbook.codecs.grids import pixel_offsets
from calbook.codecs.heatmap import draw_gaussians
from calbook.poses import Pose, PoseMaps, Targets

Normalization = Literal["softmax", "sum"]


@dataclass(frozen=True)
class IntegralCodec(Codec):
    """Soft-argmax, differentiable in the maps; Gaussian targets for an auxiliary loss.

    Non-finite values have no probability. A map where nothing has probability is
    empty and decodes to (0, 0) with score 0. A constant map decodes to the middle
    of the map: every pixel is as likely. The score is the largest probability.

    Attributes:
        floor: Smallest value that has probability, ``-inf`` here. Of ``"sum"`` the
            larger of this and 0.
        sigma: Standard deviation of the auxiliary target in heatmap pixels; None for
            ``default_sigma``.
        normalization: Map to probability: ``"softmax"`` of logits (the paper) or, of
            maps trained as Gaussians, the share of each value in the ``"sum"``.
        beta: Factor on the logits before the softmax. Published: 1.

    >>> codec = IntegralCodec((128, 96), (32, 24), normalization="sum")
    >>> targets = codec.encode(torch.tensor([[[47.3, 60.9]]]), torch.tensor([[2]]))
    >>> codec.decode(PoseMaps(targets.heatmaps)).coords.round(decimals=3)
    tensor([[[47.3000, 60.9000]]])
    """

    floor: float = -torch.inf
    sigma: float | None = None
    normalization: Normalization = "softmax"
    beta: float = 1.0

    def encode(self, joints: Tensor, visible: Tensor) -> Targets:
        """Gaussian targets ``(B, K, h, w)`` centred on joints ``(B, K, 2)``; see ``Codec.encode``."""
        return draw_gaussians(self, joints, visible, self._sigma, center="joint", support="plane")

    def decode(self, maps: PoseMaps) -> Pose:
        """Expected positions in input pixels; see ``Codec.decode``."""
        chance = self.probability(self._maps(maps).heatmaps)  # (B, K, h, w)
        x, y = pixel_offsets(chance.new_zeros(*chance.shape[:2], 2), self.heatmap_size)  # minus the pixels' places
        mean = -torch.stack([(chance.sum(-2) * x[:, :, 0]).sum(-1), (chance.sum(-1) * y[..., 0]).sum(-1)], dim=-1)
        return Pose(self.to_input(mean), chance.amax((-1, -2)))

    def probability(self, heatmaps: Tensor) -> Tensor:
        """Maps ``(B, K, h, w)`` made to sum to 1 over the pixels, or all 0 if empty."""
        alive = heatmaps.isfinite() & (heatmaps >= self.floor)
        if self.normalization == "sum":
            value = torch.where(alive, heatmaps, 0.0).clamp(min=0)
        else:
            logits = torch.where(alive, self.beta * heatmaps, -torch.inf)
            top = logits.amax((-1, -2), keepdim=True)
            value = torch.exp(logits - torch.where(top.isfinite(), top, 0.0))
        total = value.sum((-1, -2), keepdim=True)
        return value / torch.where(total > 0, total, 1.0)
