"""``calbook evaluate``: AP and AR of a run or of a result file, and how they came about."""

import argparse
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calbook.cli.common import add_command, from_zero, split_name, whole
from calbook.data.defects import DataError, Defect

if TYPE_CHECKING:
    import torch

    from calbook.data.coco import CocoPeople
    from calbook.inference import Boxes
    from calbook.inference.evaluation import Protocol
    from calbook.runs import Trained

# The other options are about how a run predicts, and a file of results has nothing to do with them.
_OPTIONS_OF_A_FILE = ("target", "data", "split", "json")


def add(commands: Any) -> None:
    """Add the command to the parser."""
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "score a trained network, or a file of results, by AP and AR (PCK where areas are unknown)",
        "calbook evaluate runs/cal-w32 --data data/coco --split val2017 --json score.json",
    )
    evaluate.add_argument("target", metavar="RUN|RESULTS.json", type=Path, help="a run folder, or a COCO result file")
    evaluate.add_argument("--data", required=True, type=Path, metavar="DIR", help="a folder in COCO's layout")
    evaluate.add_argument("--split", type=split_name, default="val2017", help="which set (default: val2017)")
    evaluate.add_argument(
        "--boxes", default="gt", metavar="gt|FILE", help="annotated boxes, or a detector's COCO result file"
    )
    evaluate.add_argument(
        "--min-box-score", type=from_zero, default=0.0, metavar="S", help="leave out a detector's worse boxes"
    )
    evaluate.add_argument("--no-flip", action="store_true", help="look once: no flip test")
    evaluate.add_argument("--shift", action="store_true", help="shift mirrored maps by a pixel, as HRNet published it")
    evaluate.add_argument(
        "--nms", choices=("hard", "soft", "none"), default="hard", help="OKS suppression (default: hard, at 0.9)"
    )
    evaluate.add_argument(
        "--no-antialias", action="store_true", help="sample pictures without smoothing, as the published readers do"
    )
    evaluate.add_argument("--weights", choices=("best", "last"), default="best", help="which weights (default: best)")
    evaluate.add_argument("--batch", type=whole(1), default=64, metavar="N", help="crops at once (default: 64)")
    evaluate.add_argument("--device", default=None, metavar="NAME", help="such as cuda:1 (default: cuda if found)")
    evaluate.add_argument("--devices", type=whole(1), metavar="N", help="processes that share the work, one per GPU")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write figures and protocol to this file")
    evaluate.add_argument("--results", type=Path, metavar="DIR", help="write the poses as COCO's server takes them")
    evaluate.set_defaults(default_of=evaluate.get_default)


def _evaluate(options: argparse.Namespace) -> int:
    from calbook import results
    from calbook.inference.memory import keep_heap_flat

    keep_heap_flat()
    begin = time.perf_counter()
    figures, protocol = _score_run(options) if options.target.is_dir() else _score_file(options)
    if figures:
        from calbook.inference.evaluation import report

        print(report(figures, protocol))
    if options.json is not None and figures:
        results.write(
            options.json,
            experiment="evaluate",
            settings=vars(protocol),
            figures=figures,
            seconds=time.perf_counter() - begin,
            command=shlex.join(["calbook", *sys.argv[1:]]),
            device=protocol.device if protocol.device != "unknown" else None,
        )
    return 0


@contextmanager
def _launched(options: argparse.Namespace) -> "Iterator[tuple[torch.device, bool]]":
    """The device of this process, and whether it is the first of those that share the work.

    Each process has pictures of its own, so each says what is wrong with them; the first then ends those that it
    started, which would wait for it. What all would say is to be found out before, while there is only one.
    """
    from calbook.training.launch import build_fabric, processes, stop_others

    here, machines = processes(os.environ)
    if (options.devices or here or 1) * (machines or 1) == 1:
        yield find_device(options.device), True
        return
    if options.device is not None:
        problem = "several processes share the work, each on a device of its own"
        raise DataError(Defect("calbook evaluate", "", "--device", problem, "leave it out, or --devices"))
    fabric = build_fabric(options.devices)
    fabric.launch()
    try:
        yield fabric.device, fabric.is_global_zero
    except BaseException:
        stop_others(fabric)
        raise


def _score_file(options: argparse.Namespace) -> "tuple[dict[str, float], Protocol]":
    """Figures of a result file; how it was made is not known."""
    from calbook.data.coco import read_split
    from calbook.inference.evaluation import Protocol, score_results, versions_line
    from calbook.inference.result_files import read_results

    poses = read_results(options.target)
    for name, value in vars(options).items():
        if name not in _OPTIONS_OF_A_FILE and value != options.default_of(name):
            problem = f"{options.target} holds poses that are found already"
            remedy = "leave it out, or name a run folder"
            raise DataError(Defect("calbook evaluate", "", f"--{name.replace('_', '-')}", problem, remedy))
    people = read_split(options.data, options.split)
    protocol = Protocol(
        split=options.split,
        people=len(people),
        pictures=len(people.pycocotools_dict()["images"]),
        network=f"unknown; {len(poses)} poses of {options.target.name}",
        versions=versions_line(),
    )
    return score_results(people, poses), protocol


def _score_run(options: argparse.Namespace) -> "tuple[dict[str, float], Protocol]":
    """Figures of a run on a split; none for a test set without annotations, and on all but the first process."""
    from calbook import runs
    from calbook.inference import Cutter, predict_people
    from calbook.inference.evaluation import has_areas, score_pck, score_results
    from calbook.inference.result_files import results_name, to_results, write_results

    trained = runs.load(options.target, options.weights)
    people = _people(options, trained)
    boxes = _boxes(options, people)
    _check_scorable(options, people)
    codec = trained.codec
    with _launched(options) as (device, first):
        found = predict_people(
            trained.model,
            codec,
            people,
            boxes=boxes,
            flip=not options.no_flip,
            shift=options.shift,
            batch_size=options.batch,
            cutter=Cutter(codec.input_size, codec.convention, antialias=not options.no_antialias),
            device=device,
            shared=True,
            progress=sys.stderr.isatty() and first,
        )
    protocol = _protocol(options, trained, people, boxes, device)
    if not first:
        return {}, protocol
    category = people.pycocotools_dict()["categories"][0]["id"]
    poses = to_results(found, people.skeleton, suppression=options.nms, category_id=category)
    if options.results is not None:
        file = options.results / results_name(options.split, trained.path.resolve().name)
        write_results(file, poses)
        print(f"{file}: {len(poses)} poses")
    if not len(people):
        return {}, protocol
    return score_results(people, poses) if has_areas(people) else score_pck(people, found.coords), protocol


def _people(options: argparse.Namespace, trained: "Trained") -> "CocoPeople":
    from calbook.data.coco import read_split
    from calbook.inference.unlabelled import image_info_file, read_unlabelled

    if image_info_file(options.data, options.split).is_file():
        return read_unlabelled(options.data, options.split, trained.skeleton)
    people = read_split(options.data, options.split)
    if people.skeleton.joints != trained.skeleton.joints:
        problem = f"its {people.skeleton.num_joints} joints are not the {trained.skeleton.num_joints} of {trained.path}"
        raise DataError(Defect(str(options.data), options.split, "", problem, "evaluate on the joints of the training"))
    return people


def _boxes(options: argparse.Namespace, people: "CocoPeople") -> "Boxes":
    from calbook.inference import annotated_boxes, read_boxes

    if options.boxes != "gt":
        return read_boxes(options.boxes, people, min_score=options.min_box_score)
    if options.min_box_score:
        problem = "annotated boxes have no scores"
        remedy = "leave it out, or give a detector's boxes with --boxes FILE"
        raise DataError(Defect("calbook evaluate", "", "--min-box-score", problem, remedy))
    if not len(people):
        remedy = "give a detector's boxes with --boxes FILE"
        raise DataError(Defect(str(options.data), options.split, "", "there are no annotated boxes", remedy))
    return annotated_boxes(people)


def _check_scorable(options: argparse.Namespace, people: "CocoPeople") -> None:
    """Refuse now what could not be done or scored after hours of prediction."""
    from calbook.inference.evaluation import check_scorable, has_areas

    if options.shift and options.no_flip:
        problem = "without a flip test there are no mirrored maps to shift"
        raise DataError(Defect("calbook evaluate", "", "--shift", problem, "leave it out, or --no-flip"))
    if not len(people):
        problem = "nobody is annotated, only COCO's server can score it"
        if options.results is None:
            raise DataError(Defect(str(options.data), options.split, "", problem, "write the poses with --results DIR"))
        if options.json is not None:
            raise DataError(Defect(str(options.data), options.split, "", problem, "leave out --json"))
        return
    if options.boxes != "gt" and not has_areas(people):
        remedy = "use annotations with areas, or annotated boxes (--boxes gt) to score by PCK"
        raise DataError(Defect(str(options.data), options.split, "area", "unknown, there is no AP without", remedy))
    check_scorable(people, str(options.data), options.split)


def find_device(name: str | None) -> "torch.device":
    """The device of this name, or the best one here."""
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # torch raises each, by kind of device
        raise DataError(Defect("--device", name, "", "there is no such device", "see calbook info")) from None
    return device


def _protocol(
    options: argparse.Namespace, trained: "Trained", people: "CocoPeople", boxes: "Boxes", device: Any
) -> "Protocol":
    from calbook import results
    from calbook.inference.evaluation import Protocol, versions_line
    from calbook.metrics import OKS_THRESHOLD, SCORE_THRESHOLD

    height, width = trained.codec.input_size
    return Protocol(
        split=options.split,
        people=len(people),
        pictures=len(people.pycocotools_dict()["images"]),
        network=trained.method.model,
        codec=f"{trained.method.codec}, {trained.codec.convention} pixels",
        input_size=f"{height}x{width}",
        weights=f"{trained.weights}, sha256 {trained.weights_hash[:12]}",
        boxes=boxes.source,
        box_count=f"{len(boxes)}, {boxes.left_out} left out",
        box_score=options.min_box_score if options.boxes != "gt" else 1.0,
        flip="no" if options.no_flip else "yes, shifted by a pixel" if options.shift else "yes",
        antialias="no" if options.no_antialias else "yes",
        suppression="none" if options.nms == "none" else f"{options.nms} at OKS {OKS_THRESHOLD}",
        joint_score=SCORE_THRESHOLD,
        versions=versions_line(),
        device=results.machine(None if device.type == "cuda" else "cpu")["device"],
    )
