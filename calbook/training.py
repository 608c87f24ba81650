"""The two-stage training loop (Algorithm 1 of the CAL paper), on one device.

Stage one minimises the codec's own targets. From step ``stage_two`` on, the offset
loss is weighted by mixed-Gaussian masks: in each mini-batch the displacements of
the coarse predictions are fitted anew (equations 11 and 12), drawn around the
joints (equation 13) and put in the place of the disks (equation 15).

Methods differ in three objects only, and so does a call of ``train``: the network,
the codec and the loss.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from calbook import gmm
from calbook.codecs.base import Codec
from calbook.losses import JointsLoss, OffsetLoss
from calbook.poses import PoseMaps, Targets

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        steps: Mini-batches in all. Published: 210 epochs of COCO, with masks 250.
        learning_rate: Of Adam. Published: 1e-3.
        drops: Shares of stage one after which the learning rate falls to a tenth, so
            that stage two runs at the lowest rate. Published: epochs 170 and 200 of 210.
        stage_two: Step from which mixed-Gaussian masks are used; None for never.
            Published: after 210 of 250 epochs.
        components: Number of Gaussians of the mixture; None for the paper's rule,
            ``gmm.default_components``.
    """

    steps: int = 600
    learning_rate: float = 1e-3
    drops: tuple[float, ...] = (170 / 210, 200 / 210)
    stage_two: int | None = None
    components: int | None = None


class Step(NamedTuple):
    """What one step of training did.

    Attributes:
        step: Its number, from 0.
        loss: Total loss of the mini-batch.
        heatmap: Its heatmap term.
        offset: Its offset term, before lambda; 0 for methods without offsets.
        mixture: The mixture that weighted it, None in stage one.
        seconds: Since training began.
    """

    step: int
    loss: float
    heatmap: float
    offset: float
    mixture: gmm.Mixture | None
    seconds: float


class NonFiniteLossError(RuntimeError):
    """The loss is no longer a finite number."""


def normalize(images: Tensor) -> Tensor:
    """Pictures ``(B, 3, H, W)`` in [0, 1] with ImageNet's channel means and deviations removed."""
    mean, std = images.new_tensor(IMAGENET_MEAN), images.new_tensor(IMAGENET_STD)
    return (images - mean[:, None, None]) / std[:, None, None]


def mixed_masks(
    maps: PoseMaps, targets: Targets, joints: Tensor, codec: Codec, components: int | None
) -> tuple[Tensor, gmm.Mixture]:
    """The mixture of a mini-batch's displacements and its masks (equations 11 to 13).

    Args:
        maps: Predictions of the mini-batch.
        targets: Its targets; joints of weight 0 have no say and an empty mask.
        joints: ``(B, K, 2)`` as (x, y) in input pixels.
        codec: Whose heatmap grid the maps lie on.
        components: Number of Gaussians, None for the paper's rule.

    Returns:
        Masks ``(B, K, h, w)`` and the mixture.
    """
    points = codec.to_heatmap(joints)
    # A map of logits is never empty: the codec reads it after a sigmoid, which is positive everywhere.
    floor = -math.inf if getattr(codec, "logits", False) else codec.floor
    moves, counts = gmm.displacements(maps.heatmaps, points, targets.weights, floor=floor)
    count = gmm.default_components(codec.heatmap_size) if components is None else components
    mixture = gmm.fit(moves, n_components=count, weights=counts)
    masks = gmm.mixed_gaussian_masks(mixture, points, codec.heatmap_size, visible=targets.weights)
    return masks, mixture


def train(
    model: nn.Module,
    codec: Codec,
    loss: JointsLoss | OffsetLoss,
    batches: Iterable[tuple[Tensor, Tensor, Tensor]],
    plan: Plan | None = None,
    after_step: Callable[[Step, nn.Module], None] | None = None,
) -> list[Step]:
    """Train a network in place, on the device of its parameters.

    Args:
        model: From normalised images ``(B, 3, H, W)`` to ``PoseMaps``.
        codec: Encodes the joints.
        loss: ``losses.build_loss``; stage two needs an ``OffsetLoss``.
        batches: Of images ``(B, 3, H, W)`` in [0, 1], joints ``(B, K, 2)`` in input pixels
            and visibilities ``(B, K)``, on any device; at least ``plan.steps`` of them.
        plan: How long and how fast.
        after_step: Called after each step, for curves and pictures. It may put the model
            into evaluation mode; the next step trains again.

    Returns:
        One record per step.

    Raises:
        NonFiniteLossError: The loss became infinite or NaN; says at which step.
        ValueError: Stage two is asked for with a loss that has no offsets, or there are
            fewer batches than steps.
    """
    plan = plan or Plan()
    if plan.stage_two is not None and not isinstance(loss, OffsetLoss):
        raise ValueError("stage two weights offset losses by masks: choose a method with offsets")
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate)
    stage_one = plan.stage_two or plan.steps  # with masks from step 0 there is no stage one to count in
    milestones = [round(share * stage_one) for share in plan.drops]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    history: list[Step] = []
    begin = time.perf_counter()
    for step, batch in zip(range(plan.steps), batches, strict=False):
        model.train()
        images, joints, visible = (tensor.to(device, non_blocking=True) for tensor in batch)
        targets = codec.encode(joints, visible)
        maps = model(normalize(images))
        mixture = None
        if plan.stage_two is not None and step >= plan.stage_two:
            masks, mixture = mixed_masks(maps, targets, joints, codec, plan.components)
            targets = targets._replace(masks=masks)
        terms = loss(maps, targets)
        if not terms.total.isfinite():
            raise NonFiniteLossError(
                f"the loss is {terms.total.item()} at step {step}: lower the learning rate or check the data"
            )
        optimizer.zero_grad(set_to_none=True)
        terms.total.backward()
        optimizer.step()
        scheduler.step()
        total, heatmap, offset = (float(term.detach()) for term in terms)
        history.append(Step(step, total, heatmap, offset, mixture, time.perf_counter() - begin))
        if after_step is not None:
            after_step(history[-1], model)
    if len(history) < plan.steps:
        raise ValueError(f"the plan has {plan.steps} steps, but there were only {len(history)} batches")
    return history
