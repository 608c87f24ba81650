"""Run folders of networks that answer, without training."""

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from calbook.method import Method, build_method
from calbook.runs import RunFolder, skeleton_to_dict
from calbook.skeletons import COCO, Skeleton


def enliven(model: nn.Module) -> nn.Module:
    """Give a network weights with which its maps vary by about 1; fresh ones give maps near 0."""
    state = model.state_dict()
    for name, tensor in state.items():
        state[name] = _lively(name, tensor)
    model.load_state_dict(state)
    return model.eval()


def _lively(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    random = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    values = torch.randn(tensor.shape, generator=random)
    if name.endswith("running_var"):
        return 1 + 0.1 * values.abs()
    if tensor.ndim < 2:  # bias, mean and weight of a batch norm
        return 0.1 * values + (1.0 if name.endswith("weight") else 0.0)
    return values * (2.0 / tensor[0].numel()) ** 0.5 / 2


def write_run(folder: Path, method: str | Method = "cal-tiny", skeleton: Skeleton = COCO, **changes: Any) -> Path:
    """A run folder with lively weights."""
    if isinstance(method, str):
        method = build_method(method, (64, 48), **changes)
    run = RunFolder(folder)
    run.weights("best").parent.mkdir(parents=True)
    run.config.write_text(json.dumps({"method": asdict(method), "skeleton": skeleton_to_dict(skeleton)}))
    state = enliven(method.build_model(skeleton.num_joints)).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, run.weights("best"))
    return folder
