"""Scoring a trained network in every way that its tables ask for."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calbook import ceiling
from calbook.codecs import Codec, build_codec
from calbook.data.coco import CocoPeople
from calbook.data.defects import DataError, Defect
from calbook.data.mpii import MpiiPeople
from calbook.experiments.displacement import describe, displacements
from calbook.experiments.experiment import Evaluation, Experiment
from calbook.experiments.sets import data_folder, people_of
from calbook.experiments.upscaling import UpscalingCutter
from calbook.inference import Boxes, Cutter, Predictions, annotated_boxes, predict_people, read_boxes
from calbook.inference.evaluation import score_results
from calbook.inference.result_files import results_name, to_results, write_results
from calbook.inference.unlabelled import image_info_file, read_unlabelled
from calbook.method import Method
from calbook.metrics import head_lengths, pckh
from calbook.skeletons import COCO

DETECTIONS = "person_detection_results"  # folder of detectors' files, as the published code has it


def codec_of(method: Method, evaluation: Evaluation) -> Codec:
    """The codec that an evaluation reads maps with.

    Another codec takes over the options of the method's own that it has, such as the
    pixel convention.

    >>> codec_of(Method("hrnet-tiny", "heatmap", "heatmap", (64, 48)), Evaluation(codec_options={"shift": False})).shift
    False
    """
    own = method.build_codec()
    name = evaluation.codec or method.codec
    if name == method.codec:
        return build_codec(
            name, method.input_size, method.heatmap_size, **(method.codec_options | dict(evaluation.codec_options))
        )
    other = build_codec(name, method.input_size, method.heatmap_size)
    shared = {
        field.name: getattr(own, field.name)
        for field in fields(other)
        if field.name in ("convention", "sigma") and hasattr(own, field.name)
    }
    if getattr(own, "logits", False):
        shared["floor"] = -torch.inf  # a logit is below 0 wherever the chance is below a half
    return replace(other, **(shared | dict(evaluation.codec_options)))


def validation(experiment: Experiment, root: Path) -> Any:
    """What training is watched by: AP of single looks at people that no table shows.

    On COCO it is AP on val2017 with annotated boxes, as published, which the best weights
    are chosen by.
    """
    folder = data_folder(experiment, root)
    synthetic = experiment.data.source == "synthetic"
    split = "tune2017" if synthetic else "val" if experiment.data.source == "mpii" else "val2017"
    people = people_of(experiment.data, folder, split)
    evaluation = Evaluation("validation", split, flip=not synthetic, shift=experiment.evaluations[0].shift)

    def validate(model: nn.Module, codec: Codec) -> dict[str, float]:
        found = _predict(model, codec, people, evaluation, annotated_boxes(people), shared=True)
        if experiment.data.source == "mpii":
            return {"PCKh": _pckh(people, found.coords)["mean"]}
        figures = score_results(people, to_results(found, people.skeleton))
        return {name: figures[name] for name in ("AP", "AP50", "AP75", "AR")}

    return validate


def check_data(experiment: Experiment, root: Path) -> None:
    """Read what ``score`` will need besides a network, so that a training is not begun whose scoring must fail.

    Raises:
        DataError: Data or detections are missing.
    """
    folder = data_folder(experiment, root)
    different = {(found.split, found.detections): found for found in experiment.evaluations}
    for evaluation in different.values():
        _boxes(evaluation, _people(experiment, folder, evaluation), folder)


def score(
    model: nn.Module,
    experiment: Experiment,
    root: Path,
    run: Path,
    resolver: Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Figures of all evaluations of a trained network.

    Args:
        model: The network.
        experiment: Whose.
        root: The data folder.
        run: Folder of the run; results for a server that keeps the annotations to itself are written there.
        resolver: Weights of the super-resolver, where an evaluation needs one.
        progress: Whether to show bars.

    Returns:
        ``{"evaluations": {name: figures}, "displacements": figures}``, the latter where the peak
        alone is scored.

    Raises:
        DataError: Data or detections are missing.
    """
    folder, figures = data_folder(experiment, root), {}
    moves: dict[str, Any] = {}
    for evaluation in experiment.evaluations:
        people = _people(experiment, folder, evaluation)
        codec = codec_of(experiment.method, evaluation)
        boxes = _boxes(evaluation, people, folder)
        found = _predict(model, codec, people, evaluation, boxes, resolver, progress)
        if experiment.data.source == "mpii":
            figures[evaluation.name] = _pckh(people, found.coords)
        elif len(people):
            figures[evaluation.name] = score_results(people, to_results(found, people.skeleton))
        else:
            write_results(run / results_name(evaluation.split, experiment.name), to_results(found, COCO))
        if evaluation.name == "coarse":
            moves = describe(displacements(found.coords, people, codec))
    return {"evaluations": figures} | ({"displacements": moves} if moves else {})


def score_perfect(experiment: Experiment, root: Path) -> dict[str, Any]:
    """Figures of a network that predicts the targets: what grid and decoder cost."""
    figures = {}
    for evaluation in experiment.evaluations:
        people = people_of(experiment.data, data_folder(experiment, root), evaluation.split)
        poses = ceiling.perfect_poses(people, codec_of(experiment.method, evaluation))
        figures[evaluation.name] = ceiling.average_precision(people, poses)
    return {"evaluations": figures}


def _predict(
    model: nn.Module,
    codec: Codec,
    people: CocoPeople,
    evaluation: Evaluation,
    boxes: Boxes,
    resolver: Path | None = None,
    progress: bool = False,
    shared: bool = False,
) -> Predictions:
    cutter = Cutter(codec.input_size, codec.convention)
    if evaluation.upscaling is not None:
        assert evaluation.crop_size is not None
        cutter = UpscalingCutter.of(evaluation.upscaling, codec, evaluation.crop_size, resolver)
    return predict_people(
        model, codec, people, boxes=boxes, flip=evaluation.flip, shift=evaluation.shift, cutter=cutter, workers=1,
        shared=shared, progress=progress,
    )  # fmt: skip


def _people(experiment: Experiment, folder: Path, evaluation: Evaluation) -> CocoPeople:
    if experiment.data.source == "coco" and image_info_file(folder, evaluation.split).is_file():
        return read_unlabelled(folder, evaluation.split, COCO)
    return people_of(experiment.data, folder, evaluation.split)


def _boxes(evaluation: Evaluation, people: CocoPeople, folder: Path) -> Boxes:
    if evaluation.boxes != "detector":
        return annotated_boxes(people)
    assert evaluation.detections is not None
    file = folder / DETECTIONS / evaluation.detections
    if not file.exists():
        remedy = "put the detector's boxes there (COCO result format)"
        raise DataError(Defect(str(file), "", "", "missing", remedy))
    return read_boxes(file, people)


def _pckh(people: CocoPeople, coords: Tensor) -> dict[str, float]:
    if not isinstance(people, MpiiPeople):
        raise TypeError(
            f"PCKh needs MPII's head boxes, which {type(people).__name__} lacks: read the set with data.mpii"
        )
    return pckh(coords, people.joints, people.visible, head_lengths(people.head_boxes))
