"""Training: short runs in a chapter, full runs on one device or many machines.

``train`` is a chapter's loop: a network, a codec, a loss, some batches. ``fit`` is
the published one: 210 + 40 epochs, a run folder, checkpoints that continue to the
bit, validation with the real metric. Both learn through ``step.learn``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from calbook.data.pictures import IMAGENET_MEAN, IMAGENET_STD, normalize
from calbook.training.config import Precision, TrainingConfig
from calbook.training.plan import Plan, Step, train
from calbook.training.step import MaskPlan, NonFiniteLossError, learn, mixed_masks, objective

if TYPE_CHECKING:
    from calbook.training.launch import build_fabric
    from calbook.training.learner import Validate
    from calbook.training.loop import Summary, fit, train_epoch
    from calbook.training.validation import validate_on

# Full training stands on Lightning Fabric, which takes seconds to load: it waits until it is asked for.
_LATER = {
    "Summary": "loop",
    "Validate": "learner",
    "build_fabric": "launch",
    "fit": "loop",
    "train_epoch": "loop",
    "validate_on": "validation",
}

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "MaskPlan",
    "NonFiniteLossError",
    "Plan",
    "Precision",
    "Step",
    "Summary",
    "TrainingConfig",
    "Validate",
    "build_fabric",
    "fit",
    "learn",
    "mixed_masks",
    "normalize",
    "objective",
    "train",
    "train_epoch",
    "validate_on",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
