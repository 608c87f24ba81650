"""How each family of the papers is trained: the published configurations, as far as they are known.

Where paper and published code disagree the paper is followed. What the paper does not
say is taken from the published files: batch sizes, sigma at 64x48, the balance of the
losses. ``constants`` are those of them that are tied to a backbone and a size.
"""

from dataclasses import replace
from typing import Any

from calbook.experiments.experiment import Data, Evaluation, Experiment, Source, name_of
from calbook.geometry import Size
from calbook.method import Method, build_method
from calbook.training import TrainingConfig

Options = dict[str, Any]

VAL = Evaluation("val2017")
VAL_DETECTOR = Evaluation(  # a detector of 56.4 AP, as SimpleBaseline and HRNet share it
    "val2017-detector", boxes="detector", detections="COCO_val2017_detections_AP_H_56_person.json"
)
VAL_BETTER_DETECTOR = Evaluation(  # UDP's, of 65.1 AP
    "val2017-detector65", boxes="detector", detections="COCO_val2017_detections_AP_65_person.json"
)
TEST_DEV = Evaluation(
    "test-dev2017",
    "test-dev2017",
    boxes="detector",
    detections="COCO_test-dev2017_detections_AP_H_609_person.json",
)
MPII_VAL = Evaluation("val", "val", boxes="none")

_BATCHES: dict[tuple[str, Size], int] = {  # where it is not 128: as many as the published GPUs held
    ("w48", (64, 48)): 256,
    ("w48", (256, 192)): 120,
    ("w32", (384, 288)): 112,
    ("w48", (384, 288)): 72,
}


def hrnet(backbone: str, size: Size, evaluations: tuple[Evaluation, ...] = (VAL,), **changes: Any) -> Experiment:
    """HRNet as published: biased pixels, Gaussians on pixels, quarter shift, mirrored maps moved by a pixel."""
    method = replace(build_method(f"hrnet-{backbone}", size), codec_options={"convention": "biased"})
    shifted = tuple(replace(evaluation, shift=evaluation.name != "unshifted") for evaluation in evaluations)
    return _build("hrnet", backbone, method, shifted, **changes)


def dark(backbone: str, size: Size, evaluations: tuple[Evaluation, ...] = (VAL,), **changes: Any) -> Experiment:
    """DARK on HRNet: unbiased pixels, Gaussians on joints, a Newton step on the smoothed map."""
    constants = {"codec": {"blur": 11}} if (backbone, size) == ("w48", (128, 96)) else {}
    return _build("dark", backbone, build_method(f"dark-{backbone}", size), evaluations, constants=constants, **changes)


def udp(backbone: str, size: Size, evaluations: tuple[Evaluation, ...] = (VAL,), **changes: Any) -> Experiment:
    """UDP with offsets: maps smoothed by 15 and 7 taps before they are read, at every size, as published."""
    method = build_method(f"udp-{backbone}", size)
    method = replace(method, codec_options={"blur": (15, 7), "outside": "keep"})
    return _build("udp", backbone, method, evaluations, **changes)


def cal(
    backbone: str,
    size: Size,
    evaluations: tuple[Evaluation, ...] = (VAL,),
    *,
    training: Options | None = None,
    **changes: Any,
) -> Experiment:
    """Confidence-aware learning: 210 epochs with disks, 40 with mixed-Gaussian masks."""
    constants: dict[str, Options] = {"loss": {}}
    if backbone == "w32":
        constants["loss"]["offset_scale"] = 1.5
        if size in ((64, 48), (128, 96)):
            constants["loss"]["offset_weight"] = 0.7
        if size == (64, 48):
            constants["codec"] = {"sigma": 0.3}
    if (backbone, size) == ("w48", (384, 288)):
        constants["model"] = {"head_blocks": 1}  # which the 110.2 M parameters and 47.2 G of table 9 ask for
    schedule = {"mask_epochs": 40} | (training or {})
    method = build_method(f"cal-{backbone}", size)
    return _build("cal", backbone, method, evaluations, constants=constants, training=schedule, **changes)


def simple_baseline(
    backbone: str, size: Size, evaluations: tuple[Evaluation, ...] = (VAL,), source: Source = "coco", **changes: Any
) -> Experiment:
    """SimpleBaseline: 140 epochs."""
    return _resnet("simple-baseline", backbone, size, evaluations, source, (140, (90, 120), 128), **changes)


def multi_resolution(
    family: str, backbone: str, size: Size, evaluations: tuple[Evaluation, ...], source: Source = "coco"
) -> Experiment:
    """MRHeatNet and MRFeaNet: 170 epochs on COCO, 140 on MPII, on one GPU."""
    schedule = (170, (120, 150), 64) if source == "coco" else (140, (90, 120), 64)
    return _resnet(family, backbone, size, evaluations, source, schedule)


def integral(backbone: str, size: Size, evaluations: tuple[Evaluation, ...] = (VAL,)) -> Experiment:
    """Soft-argmax of a SimpleBaseline (the heatmap variant of integral regression).

    Trained on Gaussians and read by their mean, while the original's loss is on coordinates.
    """
    experiment = _resnet("integral", backbone, size, evaluations, "coco", (140, (90, 120), 128))
    method = replace(
        experiment.method,
        model=f"simple-baseline-{backbone}",
        codec="integral",
        codec_options={"normalization": "sum"},
    )
    unshifted = tuple(replace(evaluation, shift=False) for evaluation in experiment.evaluations)
    return replace(experiment, method=method, evaluations=unshifted)


def _resnet(
    family: str,
    backbone: str,
    size: Size,
    evaluations: tuple[Evaluation, ...],
    source: Source,
    schedule: tuple[int, tuple[int, ...], int],
    **changes: Any,
) -> Experiment:
    """A network on an ImageNet ResNet, with HRNet's codec and conventions."""
    method = Method(f"{family}-{backbone}", "heatmap", "heatmap", size, codec_options={"convention": "biased"})
    epochs, milestones, batch = schedule
    return _build(
        family,
        backbone,
        method,
        tuple(replace(evaluation, shift=True) for evaluation in evaluations),
        training={"epochs": epochs, "milestones": milestones, "batch_size": batch},
        data=Data(source, "train" if source == "mpii" else "train2017", "mpii" if source == "mpii" else "resnet"),
        **changes,
    )


def _build(
    family: str,
    backbone: str,
    method: Method,
    evaluations: tuple[Evaluation, ...],
    *,
    variant: str = "",
    constants: dict[str, Options] | None = None,
    training: Options | None = None,
    data: Data | None = None,
    model: str | None = None,
    model_options: Options | None = None,
    codec: Options | None = None,
    loss: Options | None = None,
) -> Experiment:
    """Put an experiment together; ``codec`` and ``loss`` are options of a variant, which win over constants."""
    constants, data = constants or {}, data or Data()
    tied = {part: dict(options) for part, options in constants.items()}
    for part, options in (("codec", codec), ("loss", loss), ("model", model_options)):
        for name in options or {}:
            tied.get(part, {}).pop(name, None)  # a variant's own choice is no constant
    method = replace(
        method,
        model=model or method.model,
        model_options=tied.get("model", {}) | (model_options or {}),
        codec_options=method.codec_options | tied.get("codec", {}) | (codec or {}),
        loss_options=method.loss_options | tied.get("loss", {}) | (loss or {}),
    )
    schedule: Options = {"mask_epochs": 0, "batch_size": _BATCHES.get((backbone, method.input_size), 128)}
    return Experiment(
        name=name_of(family, backbone, method.input_size, variant, data.source),
        family=family,
        backbone=backbone,
        method=method,
        training=TrainingConfig(**(schedule | (training or {}))),
        data=data,
        evaluations=evaluations,
        variant=variant,
        constants=tied,
    )
