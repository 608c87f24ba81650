"""Networks by name."""

import difflib
import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from calbook.geometry import Size
from calbook.models.blocks import Initialization, initialize, size_complaint
from calbook.models.cal_hrnet import CALHRNet
from calbook.models.hrnet import TABLES, HRNet, fit_table
from calbook.models.multi_resolution import MRFeaNet, MRHeatNet
from calbook.models.resnet_trunk import DIVISOR, TRUNKS
from calbook.models.simple_baseline import SimpleBaseline


def _hrnet(
    size: str,
    num_joints: int,
    input_size: Size | None = None,
    branches: int | None = None,
    offsets: bool = False,
    widening: int = 1,
) -> nn.Module:
    return HRNet(fit_table(TABLES[size], branches, input_size), num_joints, offsets, widening)


def _cal_hrnet(
    size: str,
    num_joints: int,
    input_size: Size | None = None,
    branches: int | None = None,
    head_blocks: int = 2,
    offset_width: int | None = None,
) -> nn.Module:
    return CALHRNet(fit_table(TABLES[size], branches, input_size), num_joints, head_blocks, offset_width)


def _resnet_based(
    network: Callable[..., nn.Module],
    depth: str,
    num_joints: int,
    input_size: Size | None = None,
    imagenet: bool = False,
) -> nn.Module:
    if input_size is not None and (input_size[0] % DIVISOR or input_size[1] % DIVISOR):
        raise ValueError(size_complaint(input_size, DIVISOR, "resize or pad the pictures"))
    return network(depth, num_joints, imagenet=imagenet)


def _registry() -> dict[str, Callable[..., nn.Module]]:
    builders: dict[str, Callable[..., nn.Module]] = {}
    for size in TABLES:
        builders[f"hrnet-{size}"] = partial(_hrnet, size)
        builders[f"cal-hrnet-{size}"] = partial(_cal_hrnet, size)
        builders[f"udp-hrnet-{size}"] = partial(_hrnet, size, offsets=True, widening=4)
        builders[f"offset-hrnet-{size}"] = partial(_hrnet, size, offsets=True)
    for depth in TRUNKS:
        builders[f"simple-baseline-{depth}"] = partial(_resnet_based, SimpleBaseline, depth)
        builders[f"mrheatnet1-{depth}"] = partial(_resnet_based, partial(MRHeatNet, cascade=True), depth)
        builders[f"mrheatnet2-{depth}"] = partial(_resnet_based, partial(MRHeatNet, cascade=False), depth)
        builders[f"mrfeanet1-{depth}"] = partial(_resnet_based, partial(MRFeaNet, halving=False), depth)
        builders[f"mrfeanet2-{depth}"] = partial(_resnet_based, partial(MRFeaNet, halving=True), depth)
    return builders


_BUILDERS = _registry()


def model_names() -> tuple[str, ...]:
    """All names that ``build_model`` knows."""
    return tuple(_BUILDERS)


def build_model(
    name: str,
    num_joints: int = 17,
    *,
    initialization: Initialization = "published",
    **options: Size | int | bool | None,
) -> nn.Module:
    """Build a network by its name.

    Args:
        name: ``hrnet-*``, ``cal-hrnet-*``, ``udp-hrnet-*`` or ``offset-hrnet-*``
            with ``w32``, ``w48`` or ``tiny``; ``simple-baseline-*``,
            ``mrheatnet1-*``, ``mrheatnet2-*``, ``mrfeanet1-*`` or
            ``mrfeanet2-*`` with ``r18``, ``r50``, ``r101`` or ``r152``.
        num_joints: Joints, K.
        initialization: How weights start, see ``blocks.initialize``.
        **options: For every network ``input_size`` (height, width): checked at
            once, and HRNets choose the branches that it allows (three at 64x48).
            HRNets: ``branches`` of stage 4. ``cal-hrnet-*``: ``head_blocks``,
            ``offset_width``. ``hrnet-*`` and kin: ``offsets``, ``widening``.
            Networks on a ResNet: ``imagenet`` for torchvision's weights.

    Returns:
        A module from pictures ``(B, 3, H, W)`` to ``PoseMaps`` at a quarter of
        their size, offsets in heatmap pixels; in training mode.

    Raises:
        ValueError: Unknown name or initialization, or a size the network cannot take.
        TypeError: An option that this network does not have.

    >>> model = build_model("cal-hrnet-tiny", num_joints=14, input_size=(64, 48))
    >>> type(model).__name__
    'CALHRNet'
    """
    if num_joints < 1:
        raise ValueError(f"num_joints must be at least 1, got {num_joints}")
    builder = _builder(name)
    known = set(inspect.signature(builder).parameters) - {"size", "depth", "network", "num_joints"}
    if unknown := sorted(set(options) - known):
        raise TypeError(f"model {name!r} has no option {unknown[0]!r}; it has {', '.join(sorted(known))}")
    model = builder(num_joints=num_joints, **options)
    for child_name, child in model.named_children():
        if not (options.get("imagenet") and child_name == "trunk"):
            initialize(child, initialization)
    return model


def _builder(name: str) -> Callable[..., nn.Module]:
    if name in _BUILDERS:
        return _BUILDERS[name]
    nearest = difflib.get_close_matches(name.lower(), _BUILDERS, n=1, cutoff=0.0)
    raise ValueError(f"unknown model {name!r}, did you mean {nearest[0]!r}? Known: {', '.join(_BUILDERS)}")
