"""Full training: two stages, any number of devices, resumable at any step (Algorithm 1 of the CAL paper)."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor

from calbook.data.defects import DataError
from calbook.losses import OffsetLoss
from calbook.method import Method
from calbook.runs import RunFolder, skeleton_to_dict
from calbook.training.config import TrainingConfig
from calbook.training.folder import check_free, checkpoint, load_tensors, locked, prepare, remove_partials
from calbook.training.keeper import Keeper, note_environment
from calbook.training.launch import build_fabric
from calbook.training.learner import Learner, Validate
from calbook.training.network import build_network
from calbook.training.record import Recorder
from calbook.training.step import ADVICE, MaskPlan, NonFiniteLossError, learn

if TYPE_CHECKING:
    from calbook.data.crops.loader import Loader


class Summary(NamedTuple):
    """What a training came to.

    Attributes:
        steps: Mini-batches learnt from, in all.
        figures: Of the last validation; empty without one.
        best: Step, epoch and score of the best weights; empty without a validation.
    """

    steps: int
    figures: dict[str, float]
    best: dict[str, Any]


def train_epoch(
    learner: Learner,
    loader: "Loader",
    config: TrainingConfig,
    fabric: Fabric,
    after_step: Callable[[Tensor], None] | None = None,
) -> None:
    """One pass over the data, from the learner's place in it on.

    Args:
        learner: Learns, and moves on.
        loader: Gives this process's share of each global mini-batch.
        config: The run's.
        fabric: Where it runs.
        after_step: Called with the loss terms ``(3,)`` after each step.

    Raises:
        NonFiniteLossError: Says in which epoch and batch; the weights are those before it.
    """
    learner.model.train()
    for group in learner.optimizer.param_groups:
        group["lr"] = config.rate(learner.epoch)
    everybody = dist.group.WORLD if fabric.world_size > 1 else None
    backward: Callable[[Tensor], None] = fabric.backward
    mean = partial(_mean, group=everybody) if everybody else Tensor.detach
    clip = partial(_clip, fabric, learner, config.clip) if config.clip else None
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    for images, joints, visible in loader.epoch(learner.epoch, start=learner.batch):
        torch.manual_seed(_seed(config.seed, learner.step, fabric.global_rank))
        batch = (images.to(fabric.device, memory_format=layout), joints.to(fabric.device), visible.to(fabric.device))
        masks = None
        if config.stage(learner.epoch) == 2:
            masks = MaskPlan(config.components, learner.mixture if config.continue_mixture else None, everybody)
        try:
            terms, learner.mixture = learn(
                learner.model, learner.codec, learner.loss, learner.optimizer, batch, masks,
                backward=backward, average=mean, before_update=clip,
            )  # fmt: skip
        except NonFiniteLossError as error:
            raise NonFiniteLossError(_where(error, learner)) from None
        if learner.average is not None:
            learner.average.update()
        learner.batch += 1
        learner.step += 1
        if after_step is not None:
            after_step(terms)


def fit(
    method: Method,
    loader: "Loader",
    validate: Validate | None,
    config: TrainingConfig,
    run: RunFolder,
    fabric: Fabric | None = None,
    *,
    data: Mapping[str, Any] | None = None,
    resume: bool = False,
    progress: bool = False,
) -> Summary:
    """Train a method from its first epoch to its last, into a run folder.

    With several processes each calls ``fit``; all validate, the first writes. Means of the
    loss, gradients and mixtures are those of the global mini-batch. Batch normalisation
    uses each process's own crops, as the published runs did on their GPUs
    (``sync_batch_norm`` for all GPUs' together); its running statistics are the first
    process's.

    Args:
        method: Network, codec and loss.
        loader: The crops, ``config.batch_size`` in a global mini-batch.
        validate: Scores a network, such as its AP, on every process (``validate_on`` divides the
            work among them); None for no validation.
        config: How to train.
        run: The folder to write to.
        fabric: Where to train, launched; None for one device.
        data: What ``config.json`` is to say about the data; compared when resuming.
        resume: Continue where the folder's last checkpoint was taken, if there is one.
        progress: Whether to show a bar.

    Raises:
        NonFiniteLossError: The loss or a weight is not finite; the last checkpoint stays.
        DataError: The folder holds a run and ``resume`` is False, another process trains
            in it, or the run was configured differently.
        OSError: The folder cannot be written; the last checkpoint stays.
        ValueError: Stage two is asked for with a loss that has no offsets.
    """
    fabric = fabric or build_fabric(precision=config.precision)
    _check(method, config, fabric)
    record = {
        "method": asdict(method),
        "skeleton": skeleton_to_dict(loader.skeleton),
        "training": asdict(config),
        "data": dict(data or {}),
    }
    try:
        with ExitStack() as stack:
            _begin(run, record, resume, fabric, stack)
            return _run(method, loader, validate, config, run, fabric, progress)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(run.path)) from error  # of a file that was open already


def _run(
    method: Method, loader: "Loader", validate: Validate | None, config: TrainingConfig, run: RunFolder, fabric: Fabric,
    progress: bool,
) -> Summary:  # fmt: skip
    """All epochs, on every process; the first has a keeper."""
    saved = None
    if fabric.is_global_zero and checkpoint(run).exists():
        saved = load_tensors(checkpoint(run))
    saved = fabric.broadcast(saved)  # machines need not share the folder
    network, report = build_network(method, loader.skeleton.num_joints, config, warm=saved is None)
    learner = Learner(network, method, config, fabric)
    if saved is not None:
        learner.load(*saved)
    with ExitStack() as stack:
        keeper = None
        if fabric.is_global_zero:
            length = 0 if saved is None else saved[1]["metrics_bytes"]
            recorder = Recorder(run, config, learner, loader.batches_per_epoch, length, progress)
            stack.callback(recorder.close)
            keeper = Keeper(run, config, learner, recorder)
            note_environment(run, fabric, report)
        while learner.epoch < config.all_epochs:
            if keeper:
                recorder.begin_epoch()
            train_epoch(learner, loader, config, fabric, keeper.after_step if keeper else None)
            if keeper:
                keeper.save()
            if validate is not None and _due(config, learner.epoch):
                figures = learner.score(validate)
                if keeper:
                    keeper.after_validation(figures)
            fabric.barrier()  # nobody learns on while the first process writes
            learner.epoch, learner.batch = learner.epoch + 1, 0
        if keeper:
            keeper.finish()
        return Summary(learner.step, keeper.figures() if keeper else {}, keeper.best() if keeper else {})


def _check(method: Method, config: TrainingConfig, fabric: Fabric) -> None:
    if config.mask_epochs and not isinstance(method.build_loss(), OffsetLoss):
        raise ValueError("stage two weights offset losses by masks: choose a method with offsets, or mask_epochs=0")
    if config.batch_size % fabric.world_size:
        raise ValueError(
            f"batch_size {config.batch_size} does not divide among {fabric.world_size} processes: change either"
        )


def _begin(run: RunFolder, record: dict[str, Any], resume: bool, fabric: Fabric, stack: ExitStack) -> None:
    """Take the folder, on the first process; where it cannot, the others leave without a word."""
    error: DataError | OSError | None = None
    if fabric.is_global_zero:
        try:
            check_free(run, resume=resume)  # before a lock is left in somebody else's folder
            stack.enter_context(locked(run))
            prepare(run, record, resume=resume)
            remove_partials(run)
        except (DataError, OSError) as problem:
            error = problem
    failed = fabric.broadcast(error is not None)
    if error is not None:
        raise error
    if failed:
        raise SystemExit(2)


def _due(config: TrainingConfig, epoch: int) -> bool:
    """Whether an epoch is followed by a validation."""
    return (epoch + 1) % config.validate_every == 0 or epoch + 1 == config.all_epochs


def _clip(fabric: Fabric, learner: Learner, largest: float) -> None:
    fabric.clip_gradients(learner.model, learner.optimizer, max_norm=largest, error_if_nonfinite=False)


def _mean(numbers: Tensor, group: dist.ProcessGroup) -> Tensor:
    """The mean over processes. Fabric's own would wait for all of them first, at every step."""
    dist.all_reduce(numbers, group=group)
    return numbers / dist.get_world_size(group)


def _seed(seed: int, step: int, rank: int) -> int:
    """Of everything random in a step on a process: the same whether or not the run was interrupted before it."""
    return ((seed * 1_000_003 + step) * 4_099 + rank) % 2**63


def _where(error: NonFiniteLossError, learner: Learner) -> str:
    place = f"epoch {learner.epoch + 1}, batch {learner.batch + 1} (step {learner.step})"
    return f"{error} in {place}; the last checkpoint is kept: {ADVICE}"
