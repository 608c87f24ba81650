"""Is it for want of people and of time that the order of methods at 64x48 is not the paper's?

    python experiments/more_people.py [--data data] [--runs runs] [--seeds 1]

Trains the four methods of Table 8 once more, as preset ``laptop`` does but with four times as many
pictures, the preset's own among them, and twice as many mini-batches: half as many epochs, the drops of
the rate where they were. Scored like the table, and on people that were learnt from. Can be cut off at
any moment and goes on where it was. Writes ``ch15_more_people.json`` after each network.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from known_people import FAMILIES, first_pictures, scores

from calbook import results
from calbook.data import coco
from calbook.data.synthetic import write_coco
from calbook.experiments.catalogue import get
from calbook.experiments.experiment import Experiment
from calbook.experiments.presets import PRESETS
from calbook.experiments.running import Job, Place, is_done, run_job
from calbook.experiments.sets import SPLITS, data_folder

PRESET = PRESETS["laptop"]
MORE = 4  # times the pictures of the preset
LONGER = 2  # times its mini-batches
PICTURES = 400  # of known and of new people
SCHEDULE = ("epochs", "mask_epochs", "milestones")


def experiment_of(family: str) -> Experiment:
    """The preset's experiment with its epochs cut so that the training is ``LONGER`` times as long."""
    experiment = get(f"{family}-w32-64x48").at("laptop")
    training, shorter = experiment.training, MORE // LONGER
    return replace(
        experiment,
        training=replace(
            training,
            epochs=training.epochs // shorter,
            mask_epochs=training.mask_epochs // shorter,
            milestones=tuple(epoch // shorter for epoch in training.milestones),
            validate_every=max(1, training.validate_every // shorter),
        ),
    )


def run(family: str, seed: int, place: Place) -> dict[str, Any]:
    """Train, or go on, and score; figures of one network."""
    job = Job(experiment_of(family), seed, "8")
    folder = data_folder(job.experiment, place.data)
    if not (folder / "annotations" / "person_keypoints_train2017.json").exists():
        count = MORE * PRESET.train_pictures
        write_coco(folder, "train2017", count, PRESET.picture_size, SPLITS["train2017"], place.progress)
    if not is_done(job, place.rows):
        run_job(job, place)
    record = results.read(job.file(place.rows))["figures"]
    sets = {
        name: first_pictures(coco.read_split(folder, split), PICTURES)
        for name, split in (("known", "train2017"), ("new", "val2017"))
    }
    return {
        "AP": {name: evaluation["AP"] for name, evaluation in record["evaluations"].items()},
        "people": scores(job.experiment, job.folder(place.runs), sets),
        "curve": record["curve"],
        "weights": record["weights"],
        "start": record["start"],
        "training_seconds": record["training_seconds"],
    }


def main() -> None:
    """Run what is missing, family by family, and write the file after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the results file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    place = Place(
        options.data / "more-people",
        options.runs / "more-people",
        options.runs / "more-people" / "rows",
        progress=sys.stderr.isatty(),
    )
    figures: dict[str, dict[str, Any]] = {family: {} for family in FAMILIES}
    settings = {
        "preset": "laptop",
        "times_the_pictures": MORE,
        "times_the_mini_batches": LONGER,
        "pictures_scored": PICTURES,
        "training": {
            family: {name: getattr(experiment_of(family).training, name) for name in SCHEDULE} for family in FAMILIES
        },
    }
    for seed in range(options.seeds):
        for family in FAMILIES:
            figures[family][str(seed)] = run(family, seed, place)
            print(family, seed, figures[family][str(seed)]["AP"], flush=True)
            done = {name: found for name, found in figures.items() if found}
            results.write(
                options.out / "ch15_more_people.json",
                experiment="ch15_more_people",
                settings=settings,
                figures=done,
                seconds=sum(one["training_seconds"] for found in done.values() for one in found.values()),
                command=f"python experiments/more_people.py --seeds {options.seeds}",
            )


if __name__ == "__main__":
    main()
