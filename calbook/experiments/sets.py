"""The people that an experiment learns from and is scored on: read from a data folder, or made into one."""

from pathlib import Path
from typing import TYPE_CHECKING

from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.data.crops import (
    MPII,
    NONE,
    PUBLISHED,
    RESNET,
    Augmentation,
    CanvasOptions,
    CropCache,
    CropLoader,
    SyntheticLoader,
    select,
)
from calbook.data.crops.building import exclusively
from calbook.data.crops.loader import check_batch
from calbook.data.defects import DataError, Defect
from calbook.data.synthetic import write_coco
from calbook.experiments.experiment import Data, Experiment
from calbook.experiments.presets import PRESETS, Preset

if TYPE_CHECKING:
    from calbook.data.crops.loader import Loader

FLIP = Augmentation(rotation=0.0, rotation_probability=0.0, scale=0.0, flip=0.5, half_body=0.0)
AUGMENTATIONS = {"published": PUBLISHED, "resnet": RESNET, "mpii": MPII, "flip": FLIP, "none": NONE}

# Seeds of the synthetic sets. Nobody is in two of them: what is learnt from, what learning rates
# and curves are judged by, and what the tables show.
SPLITS = {"train2017": 1, "tune2017": 2, "val2017": 3}
ENDLESS_SEED = 1000  # of the people who are rendered as training goes; the run's seed is added


def data_folder(experiment: Experiment, root: Path) -> Path:
    """Where an experiment's data are: the folder given, or in it that of the synthetic people of its preset."""
    return root / f"synthetic-{experiment.preset}" if experiment.data.source == "synthetic" else root


def prepare(experiment: Experiment, root: Path, progress: bool = False) -> None:
    """Make the synthetic sets that are not there yet, each whole or not at all.

    Raises:
        DataError: The folder cannot be written to.
    """
    if experiment.data.source != "synthetic":
        return
    preset, folder = PRESETS[experiment.preset], data_folder(experiment, root)
    for split, seed in SPLITS.items():
        count = {"train2017": preset.train_pictures, "tune2017": preset.tune_pictures}.get(split, preset.val_pictures)
        if (split == "train2017" and experiment.data.endless) or _written(folder, split):
            continue
        with exclusively(folder / split):
            if not _written(folder, split):  # by now somebody else may have made it
                write_coco(folder, split, count, preset.picture_size, seed, progress)


def _written(folder: Path, split: str) -> bool:
    return (folder / "annotations" / f"person_keypoints_{split}.json").exists()


def people_of(data: Data, folder: Path, split: str) -> CocoPeople:
    """The people of a split, with their pictures.

    MPII is read from ``annotations/<split>.json``, the lists of persons that most implementations
    share (``train`` and ``valid``), for the annotation itself does not say who is for validation.

    Raises:
        DataError: They are not there, or malformed.
    """
    if data.source != "mpii":
        return coco.read_split(folder, split)
    from calbook.data import mpii

    file = folder / "annotations" / ("valid.json" if split == "val" else f"{split}.json")
    if not file.exists():
        remedy = "put the lists of persons there that SimpleBaseline's and HRNet's authors share"
        raise DataError(Defect(str(file), "", "", "missing", remedy))
    return mpii.read(file, folder / "images")


def build_loader(
    experiment: Experiment,
    root: Path,
    seed: int,
    *,
    device: str = "cpu",
    rank: int = 0,
    world_size: int = 1,
    progress: bool = False,
) -> "Loader":
    """The crops that an experiment learns from.

    Args:
        experiment: At a preset.
        root: The data folder; see ``data_folder``.
        seed: Of order, augmentation and endless people: the same for all methods.
        device: Where crops are sampled.
        rank: Number of this process.
        world_size: How many processes share each batch.
        progress: Whether to show bars while sets and caches are made.

    Raises:
        DataError: Data are missing, or a batch can be neither filled nor shared equally.
    """
    size, batch = experiment.method.input_size, experiment.training.batch_size
    preset: Preset = PRESETS[experiment.preset]
    if experiment.data.endless:
        _check(preset.train_pictures, experiment, "the synthetic people", world_size)
        return SyntheticLoader(
            preset.train_pictures,
            size,
            batch,
            seed=ENDLESS_SEED + seed,
            device=device,
            rank=rank,
            world_size=world_size,
        )
    prepare(experiment, root, progress)
    folder = data_folder(experiment, root)
    people = select(people_of(experiment.data, folder, experiment.data.train))
    _check(len(people), experiment, str(folder), world_size)  # before a crop cache is made of them
    augmentation = AUGMENTATIONS[experiment.data.augmentation]
    options = CanvasOptions(reach=1 + augmentation.scale, half_body=augmentation.half_body > 0)
    source = CropCache.build(people, folder / "crops", size, options, progress=progress)
    return CropLoader(
        source,
        size,
        batch,
        augmentation=augmentation,
        seed=seed,
        device=device,
        rank=rank,
        world_size=world_size,
        convention=experiment.method.build_codec().convention,
    )


def _check(people: int, experiment: Experiment, source: str, world_size: int) -> None:
    try:
        check_batch(people, experiment.training.batch_size, world_size)
    except ValueError as error:
        remedy = "see --batch-size and --devices"
        raise DataError(Defect(source, experiment.data.train, "", str(error), remedy)) from None
