"""Short runs on one device, without a run folder: how the chapters train."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from calbook import gmm
from calbook.codecs.base import Codec
from calbook.losses import JointsLoss, OffsetLoss
from calbook.training.step import ADVICE, Batch, MaskPlan, NonFiniteLossError, learn


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


def train(
    model: nn.Module,
    codec: Codec,
    loss: JointsLoss | OffsetLoss,
    batches: Iterable[Batch],
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
    optimizer = torch.optim.Adam(model.parameters(), lr=plan.learning_rate, fused=True)
    stage_one = plan.stage_two or plan.steps  # with masks from step 0 there is no stage one to count in
    milestones = [round(share * stage_one) for share in plan.drops]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    history: list[Step] = []
    begin = time.perf_counter()
    for step, batch in zip(range(plan.steps), batches, strict=False):
        model.train()
        images, joints, visible = (tensor.to(device, non_blocking=True) for tensor in batch)
        masks = None if plan.stage_two is None or step < plan.stage_two else MaskPlan(plan.components)
        try:
            terms, mixture = learn(model, codec, loss, optimizer, (images, joints, visible), masks)
        except NonFiniteLossError as error:
            raise NonFiniteLossError(f"{error} at step {step}: {ADVICE}") from None
        scheduler.step()
        total, heatmap, offset = terms.tolist()
        history.append(Step(step, total, heatmap, offset, mixture, time.perf_counter() - begin))
        if after_step is not None:
            after_step(history[-1], model)
    if len(history) < plan.steps:
        raise ValueError(f"the plan has {plan.steps} steps, but there were only {len(history)} batches")
    return history
