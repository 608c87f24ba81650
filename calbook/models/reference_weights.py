"""Published checkpoints into our networks.

The published implementations name parameters after the lines of their source;
ours are named after the papers' figures. The rules below are the whole
correspondence. Checkpoints of HRNet, UDP, CAL, SimpleBaseline, MRHeatNet and
MRFeaNet load, as do HRNets and ResNets pre-trained on ImageNet, and SPSR.
"""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from calbook.models.cal_hrnet import CALHRNet
from calbook.models.hrnet import HRNet
from calbook.models.multi_resolution import MRFeaNet, MRHeatNet
from calbook.models.simple_baseline import SimpleBaseline
from calbook.models.spsr_keys import SPSR_RULES
from calbook.models.super_resolution import SuperResolver
from calbook.options import check_choice

Misfits = Literal["raise", "skip"]
Rules = tuple[tuple[str, str], ...]  # (pattern at the beginning of a published key, what takes its place)

_HRNET_TRUNK: Rules = (
    (r"conv1\.", "trunk.stem.0.0."),
    (r"bn1\.", "trunk.stem.0.1."),
    (r"conv2\.", "trunk.stem.1.0."),
    (r"bn2\.", "trunk.stem.1.1."),
    (r"layer1\.", "trunk.stage1."),
    (r"transition([12])\.(\d)\.(?:0\.)?(\d\.)", r"trunk.transition\1.steps.\2.\3"),  # new branches are nested deeper
    (r"stage([23])\.(\d)\.fuse_layers\.", r"trunk.stage\1.\2.exchange.paths."),
    (r"stage([23])\.", r"trunk.stage\1."),
)
_RESNET_TRUNK: Rules = (
    (r"conv1\.", "trunk.stem.0."),
    (r"bn1\.", "trunk.stem.1."),
    (r"layer([1-4])\.", r"trunk.stage\1."),
)
_SIMPLE_BASELINE: Rules = (
    *((rf"deconv_layers\.{3 * i + part}\.", f"deconvs.{i}.{part}.") for i in range(3) for part in range(2)),
    (r"final_layer\.", "predict."),
)
_MRHEATNET: Rules = (
    (r"deconv([123])\.", r"deconv\1."),
    (r"s_conv1\.", "score16."),
    (r"s_conv2\.", "score8."),
    (r"s_deconv1\.", "lift16."),
    (r"s_deconv12\.", "lift16_again."),
    (r"s_deconv2\.", "lift8."),
    (r"final_layer\.", "predict."),
)
_MRFEANET: Rules = (
    *((rf"deconv1{i + 1}\.", f"ways.3.{i}.") for i in range(3)),
    *((rf"deconv2{i + 1}\.", f"ways.2.{i}.") for i in range(2)),
    (r"deconv3\.", "ways.1.0."),
    (r"final_layer\.", "predict."),
)


def _hrnet_branch(suffix: str, branch: str) -> Rules:
    """Transition 3 and stage 4; CAL has them a second time, with suffix ``_om``, for offsets."""
    return (
        (rf"transition3{suffix}\.(\d)\.(?:0\.)?(\d\.)", rf"{branch}.transition3.steps.\1.\2"),
        (rf"stage4{suffix}\.(\d)\.fuse_layers\.", rf"{branch}.stage4.\1.exchange.paths."),
        (rf"stage4{suffix}\.", rf"{branch}.stage4."),
    )


def _cal_head(kind: str, branch: str, blocks: int) -> Rules:
    """CAL's heads. An early version had one block, named like the second of today's two, and no ``head_*``."""
    first = ((rf"head_{kind}\.final_block1\.", f"{branch}.head_blocks.0."),)
    return (
        *(first if blocks > 1 else ()),
        (rf"(?:head_{kind}\.)?final_block_{kind}\.", f"{branch}.head_blocks.{blocks - 1}."),
        (rf"(?:head_{kind}\.)?final_layer_{kind}\.", f"{branch}.predict."),
    )


def key_rules(model: nn.Module) -> Rules:
    """The rules from published keys to those of ``model``.

    Raises:
        TypeError: The network has no published counterpart.
    """
    match model:
        case CALHRNet():
            heatmaps, offsets = "heatmap_branch", "offset_branch"
            blocks = len(model.heatmap_branch.head_blocks)
            branches = _hrnet_branch("", heatmaps) + _hrnet_branch("_om", offsets)
            heads = _cal_head("hm", heatmaps, blocks) + _cal_head("om", offsets, blocks)
            return _HRNET_TRUNK + branches + heads
        case HRNet():
            return (*_HRNET_TRUNK, *_hrnet_branch("", "prediction"), (r"final_layer\.", "prediction.predict."))
        case SimpleBaseline():
            return _RESNET_TRUNK + _SIMPLE_BASELINE
        case MRHeatNet():
            return _RESNET_TRUNK + _MRHEATNET
        case MRFeaNet():
            return _RESNET_TRUNK + _MRFEANET
        case SuperResolver():
            return SPSR_RULES
    raise TypeError(f"no published weights are known for {type(model).__name__}")


@dataclass(frozen=True)
class LoadReport:
    """What ``load_reference_weights`` did.

    Attributes:
        loaded: Published keys whose tensors are now in the network.
        missing: The network's own keys that the checkpoint did not give.
        unexpected: Published keys that the network has no place for.
        skipped: Published keys left out on request, or as misfits.
    """

    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    skipped: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the checkpoint and the network cover each other."""
        return not (self.missing or self.unexpected or self.skipped)

    def __str__(self) -> str:
        parts = [f"loaded {len(self.loaded)} tensors"]
        for label in ("missing", "unexpected", "skipped"):
            if keys := getattr(self, label):
                parts.append(f"{len(keys)} {label} ({_some(keys)})")
        return ", ".join(parts)


def _some(keys: Sequence[str]) -> str:
    """The first few keys."""
    return ", ".join([_quoted(key)[1:-1] for key in keys[:3]] + ["..."] * (len(keys) > 3))


def _quoted(key: object) -> str:
    """A key in quotes, on one line and no longer than it."""
    text = repr(key)
    return text if len(text) <= 120 else f"{text[:60]}...{text[-50:]}"


def load_reference_weights(
    model: nn.Module,
    weights: Mapping[str, Tensor] | str | Path,
    *,
    offset_scale: float = 1.0,
    skip: str | Sequence[str] = (),
    misfits: Misfits = "raise",
) -> LoadReport:
    """Put published weights into a network.

    Args:
        model: Of ``build_model``; changed only if everything fits.
        weights: Published state dict, bare or inside a training checkpoint, its
            keys with or without ``module.``; or the path of one, written by
            torch (only tensors are read, no code is run) or as safetensors.
        offset_scale: Heatmap pixels per unit of the checkpoint's offsets:
            LOCREF_STDEV of CAL (1.5 for W32, 1 for W48), KPD of UDP (4). It is
            multiplied into the last convolution.
        skip: Beginnings of published keys to leave out, one or several, such as
            ``"final_layer"`` for another number of joints, or
            ``"stage4.2.fuse_layers"`` for ImageNet weights in UDP's network.
        misfits: What to do about tensors of another shape than the network's: ``"skip"``
            leaves out just these, to begin from weights for other joints.

    Returns:
        What was loaded, what was missing and what was left over.

    Raises:
        ValueError: A shape does not fit, nothing fits at all, the file
            is not a file of tensors, or ``misfits`` is neither of its choices.
        TypeError: The network has no published counterpart, or the checkpoint holds
            something else than plain tensors by name.
        OSError: The file cannot be opened.
    """
    check_choice("misfits", misfits, Misfits)
    if isinstance(weights, str | Path):
        published = _tensors(_read(Path(weights)), str(weights))
    else:
        published = _tensors(weights, "the checkpoint")
    left_out = skip if isinstance(skip, str) else tuple(skip)
    wanted = {key: value for key, value in published.items() if not key.startswith(left_out)}
    rules, own = key_rules(model), model.state_dict()
    places = {key: _translate(key, rules) for key in wanted}
    if misfits == "skip":
        wanted = {key: t for key, t in wanted.items() if places[key] not in own or t.shape == own[places[key]].shape}
        places = {key: places[key] for key in wanted}
    fitting = {key: place for key, place in places.items() if place in own}
    if not fitting:
        raise ValueError(f"none of {len(wanted)} tensors ({_some(tuple(wanted))}) belongs to a {type(model).__name__}")
    for key, place in fitting.items():
        _check_shape(key, wanted[key], place, own[place])
    factors = _offset_factors(model, offset_scale)
    with torch.no_grad():
        for key, place in fitting.items():
            own[place].copy_(_scale_rows(wanted[key], factors.get(place)))
    given = set(fitting.values())
    return LoadReport(
        loaded=tuple(fitting),
        # Checkpoints older than PyTorch 0.4.1 have no batch counters, and nothing here uses them.
        missing=tuple(key for key in own if key not in given and not key.endswith("num_batches_tracked")),
        unexpected=tuple(key for key in wanted if key not in fitting),
        skipped=tuple(key for key in published if key not in wanted),
    )


def _read(path: Path) -> Mapping[str, object]:
    """The content of a checkpoint file, without running any code that it may hold."""
    with path.open("rb"):  # raises OSError; later ones are the content's
        pass
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged pickles raise whatever their bytes happen to ask for
        raise ValueError(f"{path}: not a file of tensors: {_reason(path, error)}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a state dict, found a {type(content).__name__}")
    return content


def _reason(path: Path, error: Exception) -> str:
    """Why a file could not be read, and what to do about it."""
    with path.open("rb") as file:
        start = file.read(64).lstrip()
    if start.startswith(b"version https://git-lfs"):
        return "it is a pointer of Git LFS; fetch the file that it stands for with 'git lfs pull'"
    if start.startswith(b"<"):
        return "it is a web page; download the file itself"
    if isinstance(error, pickle.UnpicklingError) and (zipfile.is_zipfile(path) or start.startswith(b"\x80")):
        return "it holds objects that could run code, or is damaged; get its state dict alone, saved by torch.save"
    return "it is cut short, damaged or of another kind; copy or download it again"


def _tensors(content: Mapping[str, object], name: str) -> dict[str, Tensor]:
    """The published tensors by key, out of a training checkpoint and without the prefix of DataParallel."""
    inner = content.get("state_dict", content)
    if not isinstance(inner, Mapping):
        raise TypeError(f"'state_dict' of {name} is a {type(inner).__name__}, not a mapping")
    tensors = {}
    for key, value in inner.items():
        if not isinstance(key, str):
            raise TypeError(f"the key {_quoted(key)} of {name} is a {type(key).__name__}, not a parameter's name")
        if not isinstance(value, Tensor):
            raise TypeError(f"{_quoted(key)} of {name} is a {type(value).__name__}, not a tensor")
        if not _is_plain(value):
            kind = "quantized" if value.is_quantized else f"{value.layout}, {value.dtype} on {value.device}"
            raise TypeError(f"{_quoted(key)} of {name} is not a plain tensor of real numbers ({kind}); save it as one")
        tensors[key.removeprefix("module.")] = value
    return tensors


def _is_plain(value: Tensor) -> bool:
    """Whether a tensor has its numbers, all of them, one beside the other: what can be copied into a network."""
    special = value.is_quantized or value.is_nested or value.is_meta or value.is_complex()
    return value.layout == torch.strided and not special


def _translate(key: str, rules: Rules) -> str:
    """Our name of a published key; the key itself where no rule speaks of it."""
    for pattern, replacement in rules:
        translated, count = re.subn(f"^{pattern}", replacement, key)
        if count:
            return translated
    return key


def _check_shape(key: str, given: Tensor, place: str, own: Tensor) -> None:
    if given.shape != own.shape:
        raise ValueError(
            f"{_quoted(key)} does not fit: {tuple(given.shape)} in the checkpoint, {tuple(own.shape)} in the network "
            f"({place}); build the network with the checkpoint's options, or leave it out with skip=({_quoted(key)},)"
        )


def _offset_factors(model: nn.Module, scale: float) -> dict[str, Tensor]:
    """Factor on each output channel of the layer that predicts offsets, by the keys of its weight and bias."""
    if isinstance(model, CALHRNet):
        layer, factor = "offset_branch.predict", torch.full((2 * model.num_joints,), scale)
    elif isinstance(model, HRNet) and model.offsets:
        layer, factor = "prediction.predict", torch.tensor([1.0, scale, scale]).repeat(model.num_joints)
    elif scale != 1.0:
        raise ValueError(f"offset_scale={scale} was given, but this {type(model).__name__} predicts no offsets")
    else:
        return {}
    return {f"{layer}.weight": factor, f"{layer}.bias": factor}


def _scale_rows(values: Tensor, factor: Tensor | None) -> Tensor:
    """Multiply each output channel (first axis) by its factor."""
    return values if factor is None else values * factor.to(values).reshape(-1, *[1] * (values.ndim - 1))
