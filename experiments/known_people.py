"""Score the networks of Table 8 on people that they learnt from, and on people that they did not.

    calbook reproduce 8 --preset laptop --seeds 3
    python experiments/known_people.py [--data data] [--runs runs] [--pictures 400]

The difference says how much of what a network knows is these people and not people. Needs the run
folders that the first command leaves behind. Writes ``ch15_known_people.json``.
"""

import argparse
import time
from pathlib import Path

import torch

from calbook import results, runs
from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.data.crops import subset
from calbook.experiments.catalogue import get
from calbook.experiments.experiment import Experiment
from calbook.experiments.running import Job
from calbook.experiments.scoring import codec_of
from calbook.experiments.sets import data_folder
from calbook.inference import predict_people
from calbook.inference.evaluation import score_results
from calbook.inference.result_files import to_results

FAMILIES = ("hrnet", "udp", "dark", "cal")
READ = {"udp": "unsmoothed"}  # by the published decoder little is left to compare


def first_pictures(people: CocoPeople, count: int) -> CocoPeople:
    """The people of the first pictures."""
    ids = torch.unique(people.image_ids)[:count]
    return subset(people, torch.isin(people.image_ids, ids).nonzero()[:, 0])


def scores(experiment: Experiment, run: Path, sets: dict[str, CocoPeople]) -> dict[str, float]:
    """AP on each set, by the last weights of a run."""
    trained = runs.load(run, "last")
    wanted = READ.get(experiment.family, "val2017")
    evaluation = next(found for found in experiment.evaluations if found.name == wanted)
    codec, found = codec_of(experiment.method, evaluation), {}
    for name, people in sets.items():
        poses = predict_people(trained.model, codec, people, flip=evaluation.flip, shift=evaluation.shift)
        found[name] = score_results(people, to_results(poses, people.skeleton))["AP"]
    return found


def main() -> None:
    """Score every run that there is, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=400, help="of each set")
    parser.add_argument("--out", type=Path, default=results.RESULTS, help="folder for the results file")
    options = parser.parse_args()
    begin = time.perf_counter()
    figures: dict[str, dict[str, dict[str, float]]] = {}
    sets: dict[str, CocoPeople] = {}
    for family in FAMILIES:
        experiment = get(f"{family}-w32-64x48").at("laptop")
        folder = data_folder(experiment, options.data)
        for name, split in (("known", "train2017"), ("new", "val2017")):
            sets.setdefault(name, first_pictures(coco.read_split(folder, split), options.pictures))
        jobs = [Job(experiment, seed, "8") for seed in range(options.seeds)]
        figures[family] = {
            str(job.seed): scores(experiment, job.folder(options.runs), sets)
            for job in jobs
            if job.file(results.RESULTS / "rows").exists()
        }
        print(family, figures[family])
    results.write(
        options.out / "ch15_known_people.json",
        experiment="ch15_known_people",
        settings={"preset": "laptop", "pictures": options.pictures, "seeds": options.seeds},
        figures={"people": {name: len(people) for name, people in sets.items()}, "AP": figures},
        seconds=time.perf_counter() - begin,
        command=f"python experiments/known_people.py --pictures {options.pictures}",
    )


if __name__ == "__main__":
    main()
