"""One mini-batch: from crops to a loss, and from a loss to new weights.

The same few lines for the chapters' short runs (``train``) and for full training
(``fit``); everything in which methods differ comes in three objects, the network,
the codec and the loss.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn

from calbook import gmm
from calbook.codecs.base import Codec
from calbook.codecs.grids import Center
from calbook.data.pictures import normalize
from calbook.losses import JointsLoss, Loss, OffsetLoss
from calbook.poses import PoseMaps, Targets

Batch = tuple[Tensor, Tensor, Tensor]  # images (B, 3, H, W) in [0, 1], joints (B, K, 2) in input pixels, visible (B, K)
ADVICE = "lower the learning rate or check the data"


class NonFiniteLossError(RuntimeError):
    """The loss, or a weight, is no longer a finite number."""


@dataclass(frozen=True)
class MaskPlan:
    """How stage two makes its masks.

    Attributes:
        components: Number of Gaussians; None for the paper's rule, ``gmm.default_components``.
        start: Where EM begins; None for afresh (published).
        group: Processes that share the mini-batch; None for this one alone.
    """

    components: int | None = None
    start: gmm.Mixture | None = None
    group: dist.ProcessGroup | None = None


class Outcome(NamedTuple):
    """What came out of one mini-batch.

    Attributes:
        terms: ``(3,)``: total loss, heatmap term and offset term of the global mini-batch, on the CPU.
        mixture: The mixture that weighted it, None in stage one.
    """

    terms: Tensor
    mixture: gmm.Mixture | None


def mixed_masks(
    maps: PoseMaps,
    targets: Targets,
    joints: Tensor,
    codec: Codec,
    components: int | None,
    *,
    start: gmm.Mixture | None = None,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, gmm.Mixture]:
    """The mixture of a mini-batch's displacements and its masks (equations 11 to 13).

    Args:
        maps: Predictions of the mini-batch.
        targets: Its targets; joints of weight 0 have no say and an empty mask.
        joints: ``(B, K, 2)`` as (x, y) in input pixels.
        codec: Whose heatmap grid the maps lie on.
        components: Number of Gaussians, None for the paper's rule.
        start: Where EM begins, see ``gmm.fit``.
        group: Processes that share the mini-batch: the mixture is then that of all their
            displacements, the same on each; masks are drawn for this process's crops.

    Returns:
        Masks ``(B, K, h, w)`` and the mixture.
    """
    points = codec.to_heatmap(joints)
    # A map of logits is never empty: the codec reads it after a sigmoid, which is positive everywhere.
    floor = -math.inf if getattr(codec, "logits", False) else codec.floor
    moves, counts = gmm.displacements(maps.heatmaps, points, targets.weights, floor=floor)
    count = gmm.default_components(codec.heatmap_size) if components is None else components
    mixture = gmm.fit(moves, n_components=count, weights=counts, start=start, group=group)
    center: Center = getattr(codec, "mask_center", "joint")
    masks = gmm.mixed_gaussian_masks(mixture, points, codec.heatmap_size, visible=targets.weights, center=center)
    return masks, mixture


def objective(
    model: nn.Module, codec: Codec, loss: JointsLoss | OffsetLoss, batch: Batch, masks: MaskPlan | None = None
) -> tuple[Loss, gmm.Mixture | None]:
    """The loss of a mini-batch: stage one, or with ``masks`` stage two (equations 14 and 15).

    Args:
        model: From normalised images ``(B, 3, H, W)`` to ``PoseMaps``.
        codec: Encodes the joints.
        loss: ``losses.build_loss``.
        batch: Images in [0, 1], joints in input pixels, visibilities, on the model's device.
        masks: How to make mixed-Gaussian masks; None for the codec's own.

    Returns:
        The loss, and the mixture of stage two.
    """
    images, joints, visible = batch
    targets = codec.encode(joints, visible)
    maps = model(normalize(images))
    if masks is None:
        return loss(maps, targets), None
    mixed, mixture = mixed_masks(maps, targets, joints, codec, masks.components, start=masks.start, group=masks.group)
    return loss(maps, targets._replace(masks=mixed)), mixture


def learn(
    model: nn.Module,
    codec: Codec,
    loss: JointsLoss | OffsetLoss,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    masks: MaskPlan | None = None,
    *,
    backward: Callable[[Tensor], None] = Tensor.backward,
    average: Callable[[Tensor], Tensor] = Tensor.detach,
    before_update: Callable[[], object] | None = None,
) -> Outcome:
    """Learn from one mini-batch: loss, gradients, new weights.

    Args:
        model: See ``objective``, also for the next four.
        codec: Its codec.
        loss: Its loss.
        optimizer: Of its parameters.
        batch: The mini-batch.
        masks: Stage two's plan.
        backward: Computes gradients of the loss; Fabric's with several devices or mixed precision.
        average: Means of the loss terms over the processes that share the mini-batch.
        before_update: Called between gradients and update, to clip.

    Raises:
        NonFiniteLossError: The loss is not finite; the weights are those before this mini-batch.
    """
    terms, mixture = objective(model, codec, loss, batch, masks)
    reading = Reading(average(torch.stack(terms).detach()))
    optimizer.zero_grad(set_to_none=True)
    backward(terms.total)
    numbers = reading.wait()  # after the backward pass is under way: a GPU has work while this waits
    if not numbers.isfinite().all():
        raise NonFiniteLossError(f"the loss is {numbers[0].item()}")
    if before_update is not None:
        before_update()
    optimizer.step()
    return Outcome(numbers, mixture)


class Reading:
    """Numbers on their way from a GPU to the host, which waits only for them and not for what was queued after."""

    def __init__(self, numbers: Tensor) -> None:
        self._numbers, self._arrived = numbers, None
        if numbers.is_cuda:
            self._numbers = torch.empty_like(numbers, device="cpu", pin_memory=True)
            self._numbers.copy_(numbers, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def wait(self) -> Tensor:
        """The numbers, on the CPU."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._numbers.cpu()
