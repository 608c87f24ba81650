"""SPSR: super-resolution that keeps structures, the generator (Table 2 of the CAL paper).

C. Ma et al., *Structure-Preserving Super Resolution with Gradient Guidance*, CVPR
2020. A trunk of residual-in-residual dense blocks (RRDB, from ESRGAN) reads the
small picture. Beside it a gradient branch turns the small picture's gradient map
into the large picture's, helped by what the trunk knows after a quarter, half,
three quarters and nearly all of its blocks. Its last features are fused with the
trunk's, so that edges are in place when the picture is drawn.

The paper trains with a perceptual loss and two adversarial ones besides. They are
left out here: what they add is texture that pleases the eye, judged by networks
that have to be trained or downloaded themselves. What remains is the part that the
name speaks of, L1 on pictures and on gradient maps, see ``super_resolution_loss``.

Geometry. Pixels are doubled twice, so pixel x of the small picture covers pixels
4x to 4x + 3 of the large one: centre x goes to 4x + 1.5. ``shrink`` and
``enlarge`` here map the same way. Get a network's small pictures with ``shrink``
from large crops; joints in pixels of the large crop then hold for what comes out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calbook.models.blocks import Upsample
from calbook.options import nearest

FACTOR = 4  # how much larger pictures become in height and width
SLOPE = 0.2  # of the leaky ReLUs
RESIDUAL_SHARE = 0.2  # how much of a block's output is added to its input (ESRGAN)
INITIAL_SHARE = 0.1  # of He's values, with which dense blocks start: near the identity (ESRGAN)
GRADIENT_EPS = 1e-6  # added below the root, as published: keeps its derivative finite on plain areas


@dataclass(frozen=True)
class SuperResolverSize:
    """How large a network is; the published one by default.

    Attributes:
        width: Channels of the features.
        growth: Channels that each convolution of a dense block adds.
        blocks: RRDBs of the trunk.
        dense: Dense blocks in an RRDB.
        taps: After how many blocks the gradient branch takes the trunk's features.
        skip: Whether the network adds to the bicubic picture and its gradient map instead
            of drawing all by itself. Not in the paper: it lets a small network be
            useful after minutes.
    """

    width: int = 64
    growth: int = 32
    blocks: int = 23
    dense: int = 3
    taps: tuple[int, ...] = (5, 10, 15, 20)
    skip: bool = False

    def __post_init__(self) -> None:
        if min(self.width, self.growth, self.blocks, self.dense) < 1:
            raise ValueError(f"widths and counts of a super-resolver are at least 1, got {self}")
        if (
            not self.taps
            or list(self.taps) != sorted(set(self.taps))
            or not 1 <= self.taps[0] <= self.taps[-1] <= self.blocks
        ):
            raise ValueError(f"taps must rise from 1 to at most {self.blocks}, got {self.taps}")


SIZES: Mapping[str, SuperResolverSize] = {
    "spsr": SuperResolverSize(),  # 24.8 M parameters
    "spsr-small": SuperResolverSize(width=32, growth=16, blocks=8, taps=(2, 4, 6, 8), skip=True),
    "spsr-tiny": SuperResolverSize(width=16, growth=8, blocks=4, dense=1, taps=(1, 2, 3, 4), skip=True),
}


class SuperResolved(NamedTuple):
    """What a super-resolver returns.

    Attributes:
        pictures: ``(B, 3, 4H, 4W)``, RGB near [0, 1], not clipped.
        gradients: ``(B, 3, 4H, 4W)``, their gradient maps as the branch predicts them.
    """

    pictures: Tensor
    gradients: Tensor


def build_super_resolver(name: str, **changes: Any) -> "SuperResolver":
    """Build a super-resolver by its name.

    Args:
        name: ``spsr`` (published), ``spsr-small`` or ``spsr-tiny``.
        **changes: Fields of ``SuperResolverSize`` to change.

    Raises:
        ValueError: Unknown name, or a size that is none.
        TypeError: A field that there is not.

    >>> network = build_super_resolver("spsr-tiny")
    >>> [tuple(maps.shape) for maps in network(torch.rand(1, 3, 16, 12))]
    [(1, 3, 64, 48), (1, 3, 64, 48)]
    """
    if name not in SIZES:
        raise ValueError(
            f"unknown super-resolver {name!r}{nearest(name.lower(), SIZES)}: choose one of {', '.join(SIZES)}"
        )
    return SuperResolver(replace(SIZES[name], **changes))


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees everything before it.

    ``x + 0.2 f([x, f1, f2, f3, f4])`` with ``f1 = leaky(conv(x))``,
    ``f2 = leaky(conv([x, f1]))`` and so on.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        outputs = [growth] * 4 + [width]
        self.convs = nn.ModuleList(_conv(width + i * growth, output) for i, output in enumerate(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, width, h, w)`` to the same."""
        known = features
        for conv in self.convs[:-1]:
            known = torch.cat([known, F.leaky_relu(conv(known), SLOPE)], dim=1)  # (B, width + i * growth, h, w)
        added: Tensor = self.convs[-1](known)
        return features + RESIDUAL_SHARE * added


class ResidualDenseBlocks(nn.Module):
    """RRDB: dense blocks in a row, and a residual around them all."""

    def __init__(self, width: int, growth: int, count: int) -> None:
        super().__init__()
        self.dense = nn.Sequential(*(DenseBlock(width, growth) for _ in range(count)))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, width, h, w)`` to the same."""
        added: Tensor = self.dense(features)
        return features + RESIDUAL_SHARE * added


class SuperResolver(nn.Module):
    """SPSR's generator: trunk, gradient branch and fusion.

    ``load_reference_weights`` puts published weights into the size ``spsr``.

    Args:
        size: How large it is.
    """

    def __init__(self, size: SuperResolverSize) -> None:
        super().__init__()
        self.size = size
        width = size.width

        def rrdb(channels: int) -> ResidualDenseBlocks:
            return ResidualDenseBlocks(channels, size.growth, size.dense)

        self.read = _conv(3, width)
        self.blocks = nn.ModuleList(rrdb(width) for _ in range(size.blocks))
        self.after_blocks = _conv(width, width)
        self.enlarge = _doubled_twice(width)
        self.detail = nn.Sequential(_conv(width, width), _leaky(), _conv(width, width))

        self.read_gradient = _conv(3, width)
        self.guides = nn.ModuleList(nn.Sequential(rrdb(2 * width), _conv(2 * width, width)) for _ in size.taps)
        self.after_guides = _conv(width, width)
        self.enlarge_gradient = _doubled_twice(width)
        self.gradient_detail = nn.Sequential(_conv(width, width), _leaky(), _conv(width, width))
        self.draw_gradient = nn.Conv2d(width, 3, kernel_size=1)

        self.fuse = nn.Sequential(rrdb(2 * width), _conv(2 * width, width))
        self.draw = nn.Sequential(_conv(width, width), _leaky(), _conv(width, 3))
        self._initialize()

    def _initialize(self) -> None:
        """He's values for leaky ReLUs, less in dense blocks, biases 0; a network with a skip starts as bicubic."""
        calm = {conv for block in self.modules() if isinstance(block, DenseBlock) for conv in block.convs}
        last = {self.draw[-1], self.draw_gradient} if self.size.skip else set()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=SLOPE)
                with torch.no_grad():
                    module.weight.mul_(0.0 if module in last else INITIAL_SHARE if module in calm else 1.0)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, pictures: Tensor) -> SuperResolved:
        """Enlarge pictures ``(B, 3, H, W)``, RGB in [0, 1], by 4 in height and width.

        Raises:
            ValueError: The shape is another.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            raise ValueError(f"expected pictures of shape (B, 3, H, W), got {tuple(pictures.shape)}")
        known, taps = self._trunk(pictures)
        guided = self._gradient_branch(gradient_map(pictures), taps)  # (B, width, 4H, 4W)
        drawn = self.draw(self.fuse(torch.cat([guided, known], dim=1)))  # (B, 3, 4H, 4W)
        edges = self.draw_gradient(guided)  # (B, 3, 4H, 4W)
        if self.size.skip:
            bicubic = enlarge(pictures)
            drawn, edges = drawn + bicubic, edges + gradient_map(bicubic)
        return SuperResolved(drawn, edges)

    def _trunk(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features of the large picture ``(B, width, 4H, 4W)``, and those at the taps ``(B, width, H, W)``."""
        start = features = self.read(pictures)
        taps = []
        for count, block in enumerate(self.blocks, start=1):
            features = block(features)
            if count in self.size.taps:
                taps.append(features)
        return self.detail(self.enlarge(start + self.after_blocks(features))), taps

    def _gradient_branch(self, gradients: Tensor, taps: list[Tensor]) -> Tensor:
        """Features of the large picture's gradient map ``(B, width, 4H, 4W)``."""
        start = features = self.read_gradient(gradients)
        for guide, tap in zip(self.guides, taps, strict=True):
            features = guide(torch.cat([features, tap], dim=1))
        guided: Tensor = self.gradient_detail(self.enlarge_gradient(start + self.after_guides(features)))
        return guided


def gradient_map(pictures: Tensor) -> Tensor:
    """How strong the edges are, channel by channel (equations 4 and 5 of the SPSR paper).

    ``sqrt((I(x+1, y) - I(x-1, y))^2 + (I(x, y+1) - I(x, y-1))^2 + 1e-6)``; outside
    the picture I is 0, as published.

    Args:
        pictures: ``(B, C, H, W)``.

    Returns:
        ``(B, C, H, W)``.

    >>> step = torch.tensor([0.0, 0.0, 3.0, 3.0, 3.0]).expand(1, 1, 5, 5)
    >>> gradient_map(step)[0, 0, 2].round(decimals=2).tolist()
    [0.0, 3.0, 3.0, 0.0, 3.0]
    """
    padded = F.pad(pictures, (1, 1, 1, 1))
    across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
    down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
    return (across.square() + down.square() + GRADIENT_EPS).sqrt()


class SuperResolutionLoss(NamedTuple):
    """A loss and its terms; all scalars.

    Attributes:
        total: What to minimise.
        picture: L1 between the pictures.
        gradient: L1 between the gradient maps of the pictures.
        branch: L1 between the gradient maps that the branch predicts and the true ones.
    """

    total: Tensor
    picture: Tensor
    gradient: Tensor
    branch: Tensor


def super_resolution_loss(
    resolved: SuperResolved, truth: Tensor, gradient_weight: float = 1.0, branch_weight: float = 0.5
) -> SuperResolutionLoss:
    """L1 on pictures and on gradient maps, without the adversarial and perceptual terms.

    ``|I - I*| + gradient_weight |M(I) - M(I*)| + branch_weight |M^ - M(I*)|``, means
    over pixels and channels, with M = ``gradient_map`` and M^ the branch's maps. The
    paper gives the first two the same weight (0.01, beside its perceptual term)
    and the third 0.5.

    Args:
        resolved: Of ``SuperResolver``.
        truth: The large pictures I*, ``(B, 3, 4H, 4W)``.
        gradient_weight: Of the gradient term.
        branch_weight: Of the branch's term.

    Raises:
        ValueError: The truth has another shape than the pictures.
    """
    if resolved.pictures.shape != truth.shape:
        raise ValueError(f"pictures of shape {tuple(resolved.pictures.shape)} but truth {tuple(truth.shape)}")
    edges = gradient_map(truth)
    picture = F.l1_loss(resolved.pictures, truth)
    gradient = F.l1_loss(gradient_map(resolved.pictures), edges)
    branch = F.l1_loss(resolved.gradients, edges)
    return SuperResolutionLoss(picture + gradient_weight * gradient + branch_weight * branch, picture, gradient, branch)


def shrink(pictures: Tensor) -> Tensor:
    """Bicubic pictures of a quarter of the height and width, smoothed first: the published degradation.

    Args:
        pictures: ``(B, C, 4H, 4W)``, float in [0, 1].

    Returns:
        ``(B, C, H, W)`` in [0, 1].

    Raises:
        ValueError: Height or width is no multiple of 4.
    """
    height, width = pictures.shape[-2:]
    if height % FACTOR or width % FACTOR:
        raise ValueError(f"height and width must be multiples of {FACTOR}, got {height}x{width}")
    size = (height // FACTOR, width // FACTOR)
    return F.interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def enlarge(pictures: Tensor) -> Tensor:
    """Bicubic pictures of four times the height and width: what every super-resolver has to beat.

    Args:
        pictures: ``(B, C, H, W)``, float in [0, 1].

    Returns:
        ``(B, C, 4H, 4W)`` in [0, 1].
    """
    size = (FACTOR * pictures.shape[-2], FACTOR * pictures.shape[-1])
    return F.interpolate(pictures, size, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)


def _leaky() -> nn.LeakyReLU:
    return nn.LeakyReLU(SLOPE)


def _doubled_twice(width: int) -> nn.Sequential:
    """Features ``(B, width, H, W)`` to ``(B, width, 4H, 4W)``: repeat pixels, smooth, and again."""
    return nn.Sequential(
        Upsample(2), _conv(width, width), _leaky(), Upsample(2), _conv(width, width), _leaky()
    )  # fmt: skip
