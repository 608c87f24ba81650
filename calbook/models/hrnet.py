"""HRNet: high resolution kept from beginning to end.

Sun et al., *Deep High-Resolution Representation Learning for Human Pose
Estimation*, CVPR 2019, figure 1. From left to right: a stem down to a quarter
of the input, then four stages. Each stage begins with one more *branch*, at
half the resolution and twice the width of the one before, and lets all
branches exchange what they know:

    1/4   stem - stage 1 -+- stage 2 -+---- stage 3 -+---- stage 4 - head - maps
    1/8                   +- stage 2 -+---- stage 3 -+---- stage 4
    1/16                              +---- stage 3 -+---- stage 4
    1/32                                             +---- stage 4

Every "+" is a ``Transition``, every stage a row of ``ExchangeModule``. The
numbers are in ``TABLES``. ``HRNet`` is also UDP's network and the plain network
with an offset head: they differ in the last fusion and in what the head's
channels mean.
"""

from dataclasses import dataclass, replace

from torch import Tensor, nn

from calbook.geometry import Size
from calbook.models.blocks import Upsample, accept_images, basic_blocks, bottlenecks, conv_bn, size_complaint
from calbook.poses import PoseMaps

STRIDE = 4  # input pixels per heatmap pixel: the stem halves twice


@dataclass(frozen=True)
class Stage:
    """One row of the table: ``modules`` exchange modules over parallel branches."""

    modules: int  # exchange modules, one after another
    widths: tuple[int, ...]  # channels of each branch; each branch has half the resolution of the one before
    blocks: int = 4  # residual blocks per branch in each module


@dataclass(frozen=True)
class Table:
    """The sizes of a whole HRNet."""

    stage2: Stage
    stage3: Stage
    stage4: Stage
    stem: int = 64  # channels after the two strided convolutions
    planes: int = 64  # inner channels of stage 1's bottlenecks, which leave 4 * planes
    bottlenecks: int = 4  # residual blocks of stage 1

    @property
    def divisor(self) -> int:
        """What the input's sides must be multiples of: the stride of the lowest branch."""
        return STRIDE << (len(self.stage4.widths) - 1)


def _published(width: int) -> Table:
    """The table of the paper: W32 and W48 differ in ``width`` alone."""
    return Table(
        stage2=Stage(modules=1, widths=(width, 2 * width)),
        stage3=Stage(modules=4, widths=(width, 2 * width, 4 * width)),
        stage4=Stage(modules=3, widths=(width, 2 * width, 4 * width, 8 * width)),
    )


TABLES = {
    "w32": _published(32),
    "w48": _published(48),
    # For laptops: three resolutions and half a million parameters.
    "tiny": Table(
        stage2=Stage(modules=1, widths=(16, 32), blocks=2),
        stage3=Stage(modules=1, widths=(16, 32, 64), blocks=2),
        stage4=Stage(modules=1, widths=(16, 32, 64), blocks=2),
        stem=32,
        planes=16,
        bottlenecks=1,
    ),
}


def fit_table(table: Table, branches: int | None = None, input_size: Size | None = None) -> Table:
    """Give stage 4 as many branches as asked for, or as the input size allows.

    At 64x48 the fourth branch would be 2 x 1.5 pixels, so stage 4 keeps the
    three branches of stage 3, as in CAL's configuration for that size.

    Args:
        table: The full table.
        branches: Branches of stage 4: as many as stage 3 has, up to the table's own.
        input_size: Height and width of the input: chooses the branches where
            none are given, and must fit in any case.

    Raises:
        ValueError: No such number of branches, or no number fits the input size.
    """
    fewest, most = len(table.stage3.widths), len(table.stage4.widths)
    counts = [branches] if branches is not None else list(range(most, fewest - 1, -1))
    for count in counts:
        if not fewest <= count <= most:
            raise ValueError(f"stage 4 has {fewest} to {most} branches, not {count}")
        fitted = replace(table, stage4=replace(table.stage4, widths=table.stage4.widths[:count]))
        if input_size is None or not (input_size[0] % fitted.divisor or input_size[1] % fitted.divisor):
            return fitted
    assert input_size is not None  # the loop returns otherwise
    raise ValueError(size_complaint(input_size, fitted.divisor, _advice(fitted)))


def _advice(table: Table) -> str:
    """What to do about an input size that does not divide."""
    smaller = len(table.stage4.widths) > len(table.stage3.widths)
    hint = f", or build the network with branches={len(table.stage3.widths)} or with input_size=(height, width)"
    return "resize or pad the pictures" + (hint if smaller else "")


class Stem(nn.Sequential):
    """Two strided 3x3 convolutions: a quarter of the input's resolution."""

    def __init__(self, width: int) -> None:
        super().__init__(
            conv_bn(3, width, kernel=3, stride=2),  # (B, width, H/2, W/2)
            conv_bn(width, width, kernel=3, stride=2),  # (B, width, H/4, W/4)
        )


class Transition(nn.Module):
    """From the branches of one stage to those of the next.

    A branch whose width stays the same passes through, another one is adapted
    by a 3x3 convolution, and each new branch is made from the lowest one by a
    strided 3x3 convolution.
    """

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]) -> None:
        super().__init__()
        steps: list[nn.Module] = [
            nn.Identity() if a == b else conv_bn(a, b, kernel=3) for a, b in zip(before, after, strict=False)
        ]
        steps += [conv_bn(before[-1], width, kernel=3, stride=2) for width in after[len(before) :]]
        self.steps = nn.ModuleList(steps)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """``n`` maps, finest first, to ``n`` or ``n + 1``."""
        sources = branches + branches[-1:] * (len(self.steps) - len(branches))
        return [step(source) for step, source in zip(self.steps, sources, strict=True)]


class ExchangeUnit(nn.Module):
    """Every output branch sums all input branches, brought to its size (figure 3 of the paper).

    From a coarser branch: 1x1 convolution, then upsampling. From a finer one:
    strided 3x3 convolutions, each halving; the width changes in the last. From
    itself: as it is.

    Args:
        widths: Channels of the branches.
        outputs: How many branches to produce, finest first.
        widening: Factor on the finest output's width. UDP's networks widen it
            fourfold in the last exchange; its own branch then needs a 1x1
            convolution too, which has no batch norm.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int, widening: int = 1) -> None:
        super().__init__()
        targets = (widths[0] * widening, *widths[1:outputs])
        self.paths = nn.ModuleList(
            nn.ModuleList(self._path(source, target, widths[source], width) for source in range(len(widths)))
            for target, width in enumerate(targets)
        )
        self.relu = nn.ReLU(inplace=True)

    @staticmethod
    def _path(source: int, target: int, inputs: int, outputs: int) -> nn.Module:
        if source > target:  # coarse to fine
            return nn.Sequential(*conv_bn(inputs, outputs, kernel=1, relu=False), Upsample(2 ** (source - target)))
        if source < target:  # fine to coarse
            halvings = [conv_bn(inputs, inputs, kernel=3, stride=2) for _ in range(target - source - 1)]
            return nn.Sequential(*halvings, conv_bn(inputs, outputs, kernel=3, stride=2, relu=False))
        if inputs != outputs:
            return nn.Sequential(nn.Conv2d(inputs, outputs, kernel_size=1, bias=False))
        return nn.Identity()

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """Maps ``(B, widths[i], h / 2^i, w / 2^i)`` of all branches to the first ``outputs`` of them."""
        fused = []
        for paths in self.paths:
            assert isinstance(paths, nn.ModuleList)
            total = paths[0](branches[0])
            for path, branch in zip(paths[1:], branches[1:], strict=True):
                total = total + path(branch)
            fused.append(self.relu(total))
        return fused


class ExchangeModule(nn.Module):
    """Residual blocks on every branch, then one exchange unit.

    Args:
        before: Channels in which the branches arrive; where they differ from the
            stage's, the first residual block projects.
        stage: The row of the table.
        outputs: How many branches to produce, finest first.
        widening: Factor on the finest output's width.
    """

    def __init__(self, before: tuple[int, ...], stage: Stage, outputs: int, widening: int = 1) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            basic_blocks(arriving, width, stage.blocks) for arriving, width in zip(before, stage.widths, strict=True)
        )
        self.exchange = ExchangeUnit(stage.widths, outputs, widening)

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        """All branches in, the first ``outputs`` out."""
        refined = [blocks(branch) for blocks, branch in zip(self.branches, branches, strict=True)]
        fused: list[Tensor] = self.exchange(refined)
        return fused


def make_stage(stage: Stage, before: tuple[int, ...] | None = None, last: bool = False, widening: int = 1) -> nn.Module:
    """The exchange modules of a stage; the last stage of a network ends in the finest branch alone."""
    arriving = [before or stage.widths] + [stage.widths] * (stage.modules - 1)
    modules = [ExchangeModule(widths, stage, outputs=len(stage.widths)) for widths in arriving[:-1]]
    final = ExchangeModule(arriving[-1], stage, outputs=1 if last else len(stage.widths), widening=widening)
    return nn.Sequential(*modules, final)


class Trunk(nn.Module):
    """Stem to stage 3: what all of a network's predictions share."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.table = table
        width = 4 * table.planes
        self.stem = Stem(table.stem)
        self.stage1 = bottlenecks(table.stem, table.planes, table.bottlenecks)
        self.transition1 = Transition((width,), table.stage2.widths)
        self.stage2 = make_stage(table.stage2)
        self.transition2 = Transition(table.stage2.widths, table.stage3.widths)
        self.stage3 = make_stage(table.stage3)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Pictures ``(B, 3, H, W)`` to three maps, of W32: 32 @ 1/4, 64 @ 1/8, 128 @ 1/16."""
        images = accept_images(images, self.table.divisor, _advice(self.table))
        single = self.stage1(self.stem(images))  # (B, 256, H/4, W/4)
        pair = self.stage2(self.transition1([single]))  # 32 @ 1/4, 64 @ 1/8
        triple: list[Tensor] = self.stage3(self.transition2(pair))  # 32 @ 1/4, 64 @ 1/8, 128 @ 1/16
        return triple


class PredictionBranch(nn.Module):
    """Transition 3, stage 4 and a head: from the trunk's maps to one kind of prediction.

    Args:
        table: Sizes of the network.
        channels: Channels of the prediction.
        head_blocks: Residual blocks in the head before its 1x1 convolution: none
            in HRNet, two in CAL.
        widening: Factor on the width of the last fusion, four in UDP.
    """

    def __init__(self, table: Table, channels: int, head_blocks: int = 0, widening: int = 1) -> None:
        super().__init__()
        shared = table.stage3.widths
        arriving = shared + table.stage4.widths[len(shared) :]
        width = table.stage4.widths[0] * widening
        self.transition3 = Transition(shared, arriving)
        self.stage4 = make_stage(table.stage4, arriving, last=True, widening=widening)
        self.head_blocks = basic_blocks(width, width, head_blocks)
        self.predict = nn.Conv2d(width, channels, kernel_size=1)

    def forward(self, trunk: list[Tensor]) -> Tensor:
        """The trunk's three maps to ``(B, channels, H/4, W/4)``."""
        (finest,) = self.stage4(self.transition3(trunk))  # (B, width, H/4, W/4)
        maps: Tensor = self.predict(self.head_blocks(finest))
        return maps.contiguous()  # the layout that everybody else expects


class HRNet(nn.Module):
    """HRNet, alone or with offsets from the same head.

    Args:
        table: Sizes, one of ``TABLES`` or a smaller one of your own.
        num_joints: Joints, K.
        offsets: Whether the head predicts, besides a class map, the offset to
            each joint: three channels per joint (class, dx, dy), as UDP orders them.
        widening: Factor on the width of the last fusion; UDP uses four.

    >>> import torch
    >>> maps = HRNet(TABLES["tiny"], num_joints=14)(torch.zeros(1, 3, 64, 48))
    >>> maps.heatmaps.shape, maps.offsets
    (torch.Size([1, 14, 16, 12]), None)
    """

    def __init__(self, table: Table, num_joints: int, offsets: bool = False, widening: int = 1) -> None:
        super().__init__()
        self.num_joints = num_joints
        self.offsets = offsets
        self.trunk = Trunk(table)
        self.prediction = PredictionBranch(table, num_joints * (3 if offsets else 1), widening=widening)

    def forward(self, images: Tensor) -> PoseMaps:
        """Pictures ``(B, 3, H, W)`` to maps at a quarter of their size."""
        maps = self.prediction(self.trunk(images))  # (B, K or 3K, h, w)
        if not self.offsets:
            return PoseMaps(heatmaps=maps)
        fields = maps.unflatten(1, (self.num_joints, 3))  # (B, K, 3, h, w): class, dx, dy
        return PoseMaps(heatmaps=fields[:, :, 0], offsets=fields[:, :, 1:])
