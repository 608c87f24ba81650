"""``calbook train``: train an experiment, on one device or on many machines."""

import argparse
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbook.cli.common import add_command, say, split_name, whole
from calbook.data.defects import DataError, Defect

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from calbook.experiments import Experiment
    from calbook.runs import RunFolder
    from calbook.skeletons import Skeleton
    from calbook.training import TrainingConfig, Validate

SYNTHETIC = Path("data")  # where the synthetic people of the presets are made

# Options that take the place of fields of TrainingConfig with the same names.
_FIELDS = (
    "batch_size", "learning_rate", "seed", "precision", "clip", "average", "components", "compile", "channels_last",
    "sync_batch_norm", "warm_start", "validate_every", "checkpoint_every", "log_every",
)  # fmt: skip


def add(commands: Any) -> None:
    """Add the command to the parser."""
    train = add_command(
        commands,
        "train",
        _train,
        "train a network of the published tables, or of your own data",
        "calbook train cal-w32-128x96 --preset laptop\n"
        "  calbook train cal-w32-128x96 --data data/coco --devices 8 --warm-start hrnet_w32.pth --run runs/cal-w32",
    )
    train.add_argument("experiment", metavar="EXPERIMENT", help="its name, such as cal-w32-128x96")
    train.add_argument(
        "--preset",
        choices=("smoke", "laptop", "gpu", "paper"),
        default="paper",
        help="size and budget (default: paper, the published ones)",
    )
    train.add_argument(
        "--data", type=Path, metavar="DIR", help="a folder in COCO's layout (default: synthetic people, made in data/)"
    )
    train.add_argument("--split", type=split_name, help="what to learn from (default: the experiment's, train2017)")
    train.add_argument("--val-split", type=split_name, help="what to validate on (default: the experiment's, val2017)")
    train.add_argument(
        "--run", dest="folder", type=Path, metavar="DIR", help="run folder (default: runs/PRESET/EXPERIMENT)"
    )
    train.add_argument("--resume", action="store_true", help="continue the run in the folder, if there is one")
    _add_machine(train)
    _add_config(train)


def _add_machine(train: argparse.ArgumentParser) -> None:
    machine = train.add_argument_group("where", "torchrun and Slurm say how many processes there are; otherwise:")
    machine.add_argument("--devices", type=whole(1), metavar="N", help="processes on this machine, one per GPU")
    machine.add_argument("--nodes", type=whole(1), metavar="N", help="machines")
    machine.add_argument(
        "--accelerator", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="kind of device (default: auto)"
    )


def _add_config(train: argparse.ArgumentParser) -> None:
    config = train.add_argument_group("how", "in the place of the preset's values:")
    config.add_argument(
        "--epochs", type=whole(1), metavar="N", help="of the first stage; milestones and stage two keep their shares"
    )
    config.add_argument("--batch-size", type=whole(1), metavar="N", help="crops in a mini-batch, over all devices")
    config.add_argument("--learning-rate", type=_number, metavar="R", help="of Adam")
    config.add_argument("--seed", type=whole(0), metavar="S", help="of weights, order and augmentation")
    config.add_argument("--precision", choices=("32-true", "bf16-mixed", "16-mixed"), help="of the arithmetic")
    config.add_argument("--clip", type=_number, metavar="NORM", help="largest norm of the gradients")
    config.add_argument("--average", type=_number, metavar="DECAY", help="keep a moving average of the weights")
    config.add_argument("--components", type=whole(1), metavar="M", help="Gaussians of stage two's mixture")
    config.add_argument("--compile", action="store_true", default=None, help="compile the network")
    config.add_argument("--channels-last", action="store_true", default=None, help="memory layout of pictures")
    config.add_argument(
        "--sync-batch-norm", action="store_true", default=None, help="batch statistics over all GPUs, not each its own"
    )
    config.add_argument(
        "--warm-start", metavar="FILE", help="weights to begin from: a run folder, .safetensors, .pth (ImageNet's too)"
    )
    config.add_argument("--validate-every", type=whole(1), metavar="N", help="epochs between validations")
    config.add_argument("--checkpoint-every", type=whole(1), metavar="N", help="steps between checkpoints in an epoch")
    config.add_argument("--log-every", type=whole(1), metavar="N", help="steps between lines of metrics.jsonl")


def _number(text: str) -> float:
    if not re.fullmatch(r"\d*\.?\d+(e-?\d+)?", text) or not float(text) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, such as 0.001")
    return float(text)


def _train(options: argparse.Namespace) -> int:
    from calbook.runs import RunFolder
    from calbook.training import NonFiniteLossError, build_fabric
    from calbook.training.folder import check_free
    from calbook.training.launch import stop_others

    experiment, root = _experiment(options)
    run = RunFolder(options.folder or Path("runs") / options.preset / options.experiment)
    check_free(run, resume=options.resume)  # before data are made that nobody needs
    fabric = build_fabric(options.devices, options.nodes, experiment.training.precision, options.accelerator)
    fabric.launch()
    try:
        _fit(options, experiment, root, run, fabric)
    except BaseException as error:
        stop_others(fabric)
        if isinstance(error, NonFiniteLossError):
            return say(f"error: {run.path}: {error}", 1)
        raise
    return 0


def _experiment(options: argparse.Namespace) -> "tuple[Experiment, Path]":
    """The experiment with the options' changes, and the folder of its data.

    Raises:
        DataError: There is no such experiment, it has no network, or it needs data.
    """
    from calbook import experiments

    try:
        published = experiments.get(options.experiment)
        experiment = published.at(options.preset)
        if not experiment.is_trained:
            raise ValueError("a perfect network, there is nothing to train")
        training = _training(experiment.training, options)
    except ValueError as error:
        raise DataError(
            Defect("calbook train", options.experiment, "", str(error), "see calbook train --help")
        ) from None
    data = published.data if options.data else experiment.data
    if options.data is None and data.source != "synthetic":
        problem = f"learns from {data.source}, and there is no --data"
        remedy = "give its folder, or choose a preset of synthetic people: smoke, laptop, gpu"
        raise DataError(Defect("calbook train", options.experiment, "--data", problem, remedy))
    if options.val_split is not None and data.source != "coco":
        problem = f"the people to validate on are fixed for {data.source} data"
        remedy = "leave it out, or choose an experiment on COCO's layout"
        raise DataError(Defect("calbook train", options.experiment, "--val-split", problem, remedy))
    data = replace(data, train=options.split or data.train)
    return replace(experiment, training=training, data=data), options.data or SYNTHETIC


def _training(config: "TrainingConfig", options: argparse.Namespace) -> "TrainingConfig":
    """The configuration with the options that were given."""
    changes = {name: getattr(options, name) for name in _FIELDS if getattr(options, name) is not None}
    if options.epochs is not None:
        share = options.epochs / (config.epochs or config.mask_epochs)  # some have stage two alone
        changes["epochs"] = options.epochs if config.epochs else 0
        changes["mask_epochs"] = max(1, round(share * config.mask_epochs)) if config.mask_epochs else 0
        changes["milestones"] = tuple(round(share * epoch) for epoch in config.milestones)
    return replace(config, **changes)


def _fit(options: argparse.Namespace, experiment: "Experiment", root: Path, run: "RunFolder", fabric: "Fabric") -> None:
    from dataclasses import asdict

    from calbook.experiments.sets import build_loader
    from calbook.training import fit

    first = fabric.is_global_zero
    progress = sys.stderr.isatty() and first
    config = experiment.training
    loader = build_loader(
        experiment, root, config.seed,
        device=str(fabric.device), rank=fabric.global_rank, world_size=fabric.world_size, progress=progress,
    )  # fmt: skip
    split, validate = _validation(options, experiment, root, loader.skeleton)
    if validate is None and first:
        say(f"warning: {root} has no {split}: this run is not validated; see --val-split", 0)
    config = replace(config, warm_start=config.warm_start or _start(options, experiment, root, progress))
    if config.warm_start is None and experiment.start == "imagenet" and first:
        say("warning: the published run begins from ImageNet weights, this one from fresh ones; see --warm-start", 0)
    data = {
        "experiment": experiment.name,
        "preset": experiment.preset,
        "validation": split if validate else None,
        **asdict(experiment.data),
    }
    summary = fit(
        experiment.method, loader, validate, config, run, fabric,
        data=data, resume=options.resume, progress=progress,
    )  # fmt: skip
    if first:
        print(f"{run.path}: {summary.steps} steps, {config.all_epochs} epochs")
        if summary.best:
            best = summary.best
            print(f"best {best['by']} {best['score']:.4f} on {split}, after epoch {best['epoch']}")


def _validation(
    options: argparse.Namespace, experiment: "Experiment", root: Path, skeleton: "Skeleton"
) -> "tuple[str, Validate | None]":
    """The split to validate on and how; the latter is None where the folder lacks it and none was asked for.

    Raises:
        DataError: The split asked for is not there, cannot be scored, or has other joints than those learnt from.
    """
    from calbook.data.coco import annotation_files, pictures_folder, read_split
    from calbook.experiments.scoring import validation
    from calbook.training import validate_on

    if experiment.data.source != "coco":
        return "the people of the experiment's validation", validation(experiment, root)
    main = experiment.evaluations[0]
    splits = [found.split for found in experiment.evaluations if not found.split.startswith("test")]  # not annotated
    split = options.val_split or next(iter(splits), "val2017")
    if options.val_split is None and split not in {pictures_folder(file).name for file in annotation_files(root)}:
        return split, None
    people = read_split(root, split)
    if people.skeleton.joints != skeleton.joints:
        problem = f"other joints than those learnt from, {', '.join(skeleton.joints)}"
        raise DataError(Defect(str(root), split, "keypoints", problem, "choose another --val-split"))
    return split, validate_on(people, flip=main.flip, shift=main.shift)


def _start(options: argparse.Namespace, experiment: "Experiment", root: Path, progress: bool) -> str | None:
    """The weights that the experiment begins from: the preset's neutral trunk, or ImageNet's where they are at hand."""
    if experiment.start == "neutral" and options.data is None:
        from calbook.experiments.trunk import trunk_weights

        return str(trunk_weights(experiment, root, Path("runs"), progress))
    if experiment.start == "imagenet":
        from calbook.experiments.running import IMAGENET

        file = root / "pretrained" / IMAGENET.get(experiment.backbone, "")
        return str(file) if file.is_file() else None
    return None
