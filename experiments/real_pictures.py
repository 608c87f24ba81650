"""Learning from real pictures, on a laptop: two measurements with the same loop as everything else.

    python experiments/real_pictures.py lspet --data ../shared/data [--epochs 60] [--seed 0]
    python experiments/real_pictures.py by-heart --data ../shared/data

``lspet``: HRNet, DARK, UDP and CAL on 64x48 crops of Leeds Sports Pose Extended, the
same small trunk, budget, learning rate and augmentation for each; PCK@0.2 of the torso on
people that they never saw. Every sixth picture is held out, by the order of ids.

``by-heart``: a small CAL network learns 16 persons of COCO until it knows them. A
pipeline with any error between picture, crop, map and score cannot do it.

Both can be interrupted: the runs continue where they were. Results go to
``experiments/results/``.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from calbook import results
from calbook.data import coco
from calbook.data.coco import CocoPeople
from calbook.data.crops import NONE, PUBLISHED, Augmentation, CropCache, CropLoader, select
from calbook.inference import predict_people
from calbook.inference.evaluation import score_pck
from calbook.method import Method, build_method
from calbook.runs import RunFolder, load
from calbook.training import TrainingConfig, fit, validate_on
from calbook.training.record import read_metrics

HELD_OUT = 6  # every sixth picture of LSPet is for validation: 1,000 to learn from, 200 to score on
SIGMA = 1.0  # of every Gaussian, in heatmap pixels: half a pixel is all but impossible to learn in a short run
FAMILIES = ("hrnet", "dark", "udp", "cal")
RATE = 2e-3  # of Adam, the same for every method; none was searched for
BY_HEART = 16


def restrict(people: CocoPeople, folder: Path, keep: Callable[[int, dict], bool], name: str) -> CocoPeople:
    """The persons for whom ``keep(index, annotation)`` holds, as a set of its own beside the original's pictures."""
    document = people.pycocotools_dict()
    order = {identity: index for index, identity in enumerate(people.ids.tolist())}
    document["annotations"] = [
        entry for entry in document["annotations"] if entry["id"] in order and keep(order[entry["id"]], entry)
    ]
    used = {entry["image_id"] for entry in document["annotations"]}
    document["images"] = [image for image in document["images"] if image["id"] in used]
    file = folder / f"{name}.json"
    results.write_atomically(file, json.dumps(document).encode())
    return coco.read(file, people.pictures)


def method(family: str) -> Method:
    """A method on the small trunk at 64x48."""
    chosen = build_method(f"{family}-tiny", (64, 48))
    return chosen if family == "udp" else replace(chosen, codec_options={**chosen.codec_options, "sigma": SIGMA})


def train(name: str, chosen: Method, learn: CocoPeople, check: CocoPeople, config: TrainingConfig,
          augmentation: Augmentation, folder: Path) -> RunFolder:  # fmt: skip
    """Train, or continue, one run."""
    run = RunFolder(folder / name)
    cache = CropCache.build(learn, folder / "cache", chosen.input_size)
    loader = CropLoader(cache, chosen.input_size, config.batch_size, augmentation=augmentation, seed=config.seed)
    # A network that never saw a mirrored picture cannot be asked about one.
    fit(chosen, loader, validate_on(check, flip=augmentation.flip > 0), config, run, resume=True)
    return run


def curve(run: RunFolder, figure: str) -> dict[str, list[float]]:
    """Epochs and the figure of each validation."""
    lines = [line for line in read_metrics(run) if line["kind"] == "validation"]
    return {"epoch": [line["epoch"] for line in lines], figure: [line[figure] for line in lines]}


def lspet(options: argparse.Namespace) -> dict[str, object]:
    """Learning curves of four methods on LSPet."""
    people = coco.read_split(options.data / "lspet", "images")
    ranks = {image: rank for rank, image in enumerate(sorted(set(people.image_ids.tolist())))}
    held = torch.tensor([ranks[image] % HELD_OUT == HELD_OUT - 1 for image in people.image_ids.tolist()])
    learn = select(restrict(people, options.runs, lambda i, _: not held[i], "lspet_learn"))
    check = restrict(people, options.runs, lambda i, _: bool(held[i]), "lspet_check")
    masks = max(1, options.epochs * 40 // 250)
    curves, scores = {}, {}
    for family in options.families:
        stage_two = masks if family == "cal" else 0
        one = options.epochs - stage_two  # the same number of epochs in all
        config = TrainingConfig(
            epochs=one, mask_epochs=stage_two, milestones=(one * 170 // 210, one * 200 // 210), learning_rate=RATE,
            batch_size=32, seed=options.seed, validate_every=max(1, options.epochs // 20),
            warm_start=None if options.trunk is None else str(options.trunk), best_by="PCK",
        )  # fmt: skip
        name = f"lspet-{family}-{options.epochs}-{'trunk' if options.trunk else 'fresh'}-s{options.seed}"
        run = train(name, method(family), learn, check, config, PUBLISHED, options.runs)
        curves[family] = curve(run, "PCK")
        scores[family] = last_scores(run, family, check)
        print(family, {key: round(value, 4) for key, value in scores[family].items()}, flush=True)
    return {"people": {"learn": len(learn), "check": len(check)}, "curves": curves, "last": scores}


def last_scores(run: RunFolder, family: str, check: CocoPeople) -> dict[str, float]:
    """PCK of the last weights, by joint and over all; UDP also without its published blur."""
    trained = load(run.path, "last")
    figures = score_pck(check, predict_people(trained.model, trained.codec, check).coords)
    if family == "udp":
        blurred = replace(trained.codec, blur=(15, 7))
        figures["PCK with the published blur"] = score_pck(check, predict_people(trained.model, blurred, check).coords)[
            "PCK"
        ]
    return figures


def by_heart(options: argparse.Namespace) -> dict[str, object]:
    """Sixteen persons of COCO, learnt without augmentation, scored by pycocotools."""
    people = coco.read_split(options.data / "coco_mini", "train2017")
    large = [i for i in range(len(people)) if int((people.visible[i] > 0).sum()) >= 12 and people.areas[i] > 64**2]
    chosen = set(large[:BY_HEART])
    few = restrict(people, options.runs, lambda i, _: i in chosen, "coco_by_heart")
    steps = options.steps
    config = TrainingConfig(
        epochs=steps * 5 // 6, mask_epochs=steps // 6, milestones=(steps * 4 // 6,), learning_rate=RATE,
        batch_size=BY_HEART, validate_every=max(1, steps // 20), best_by="AP", log_every=50,
    )  # fmt: skip
    cal = build_method("cal-tiny", (128, 96))
    run = train(f"by-heart-{steps}", cal, select(few), few, config, NONE, options.runs)
    lines = [line for line in read_metrics(run) if line["kind"] == "validation"]
    last = {key: value for key, value in lines[-1].items() if key.startswith("A")}
    trained = load(run.path, "last")
    mirrored = validate_on(few, flip=True)(trained.model, trained.codec)["AP"]
    print(last, mirrored, flush=True)
    return {"people": len(few), "curve": curve(run, "AP"), "last": last, "AP with a flip test": mirrored}


def main() -> None:
    """Run one measurement and write its results file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("lspet", "by-heart"))
    parser.add_argument("--data", type=Path, required=True, help="folder with lspet/ and coco_mini/")
    parser.add_argument("--runs", type=Path, default=Path("runs") / "real")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=400, help="by-heart: steps, of one mini-batch each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trunk", type=Path, help="weights that every method begins from")
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES)
    parser.add_argument("--out", type=Path, default=results.RESULTS)
    options = parser.parse_args()
    begin = time.perf_counter()
    figures = {"lspet": lspet, "by-heart": by_heart}[options.what](options)
    start = "trunk_" if options.trunk else ""
    name = {"lspet": f"ch13_lspet_{start}seed{options.seed}", "by-heart": "ch13_by_heart"}[options.what]
    command = f"python experiments/real_pictures.py {options.what} --data {options.data}"
    command += (
        f" --epochs {options.epochs} --seed {options.seed}" if options.what == "lspet" else f" --steps {options.steps}"
    )
    command += f" --trunk {options.trunk}" if options.trunk else ""
    settings: dict[str, object] = {"steps": options.steps, "learning_rate": RATE, "input_size": [128, 96]}
    if options.what == "lspet":
        settings = {
            "epochs": options.epochs, "seed": options.seed, "sigma": SIGMA, "learning_rate": RATE, "batch_size": 32,
            "held_out": f"every {HELD_OUT}th picture", "trunk": str(options.trunk) if options.trunk else None,
            "flip_test": True, "threshold": 0.2,
        }  # fmt: skip
    results.write(
        options.out / f"{name}.json", experiment=name, settings=settings, figures=figures,
        seconds=time.perf_counter() - begin, command=command,
    )  # fmt: skip


if __name__ == "__main__":
    main()
