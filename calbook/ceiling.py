"""What would a perfect network score? The AP ceiling of an input size and a codec.

The whole published path with one part replaced: annotated box -> crop -> encode
the annotated joints -> take the targets for the network's prediction -> decode ->
back to the picture -> COCO's evaluation. What is lost is lost by the grid and its
decoder alone.

Joints outside the crop stay in the evaluation, as in the protocol: no map can
show them, so they are decoded somewhere else and count as errors. Joints that
are not labelled are not evaluated; what a perfect network says of them is put at
the middle of the person's labelled joints, so that it does not change the
extent by which the evaluation tells medium from large detections.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calbook import geometry
from calbook.codecs import Codec, build_codec
from calbook.data.coco import CocoPeople
from calbook.data.crops import person_crops
from calbook.geometry import Size
from calbook.metrics import coco_ap, coco_results
from calbook.quantization import decode_errors, measure

INPUT_SIZES: tuple[Size, ...] = ((256, 192), (128, 96), (64, 48), (32, 24))
STRIDE = 4  # input pixels per heatmap pixel, nominally

# Decoders to compare: a codec and its options. A network perfect for the integral codec
# shows a probability, which the targets are once they are made to sum to 1.
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "argmax": ("heatmap", {"shift": False}),
    "quarter shift": ("heatmap", {"shift": True}),
    "dark": ("dark", {}),
    "integral": ("integral", {"normalization": "sum"}),
    "offset": ("offset", {}),
    "cal": ("cal", {}),
}


@dataclass(frozen=True)
class PerfectPoses:
    """Annotated joints after a trip to the maps and back.

    Attributes:
        coords: ``(N, K, 2)`` as (x, y) in picture pixels.
        errors: ``(N, K, 2)`` as (x, y) in heatmap pixels, decoded minus annotated.
        on_map: ``(N, K)``, the joints that are labelled and lie on the map.
        phases: ``(N, K, 2)`` where each joint lies in its heatmap pixel, from -0.5
            to 0.5 as (x, y).
    """

    coords: Tensor
    errors: Tensor
    on_map: Tensor
    phases: Tensor


def build_decoder(name: str, input_size: Size, **options: Any) -> Codec:
    """The codec of one of ``DECODERS`` for an input size, at the published stride of 4.

    Args:
        name: A key of ``DECODERS``.
        input_size: Height and width of the input.
        **options: More options of the codec. ``convention="biased"`` with the heatmap
            decoders is HRNet as published: crops, and Gaussians centred on pixels;
            ``center`` sets the latter alone.

    Raises:
        ValueError: The name or an option is unknown.

    >>> build_decoder("argmax", (64, 48), center="pixel").heatmap_size
    (16, 12)
    """
    if name not in DECODERS:
        raise ValueError(f"unknown decoder {name!r}: choose one of {', '.join(DECODERS)}")
    codec, preset = DECODERS[name]
    heatmap_size = (input_size[0] // STRIDE, input_size[1] // STRIDE)
    return build_codec(codec, input_size, heatmap_size, **(preset | options))


def perfect_poses(people: CocoPeople, codec: Codec) -> PerfectPoses:
    """Send annotated joints through crop, encode, decode and back to the picture.

    Args:
        people: The annotations; pictures are not needed.
        codec: Its input size and pixel convention are those of the crop, too.

    Raises:
        ValueError: There are no people.
    """
    crops = person_crops(people, codec.input_size)
    matrices = geometry.crop_matrix(crops, codec.input_size, convention=codec.convention)  # (N, 2, 3)
    joints = geometry.transform(people.joints, matrices)  # (N, K, 2) in input pixels
    errors, on_map = decode_errors(codec, joints, people.visible)
    coords = geometry.transform(joints + codec.to_input(errors), geometry.invert(matrices))
    points = codec.to_heatmap(joints)
    phases = points - torch.floor(points + 0.5)
    return PerfectPoses(_fill_unlabelled(coords, people), errors, on_map, phases)


def average_precision(people: CocoPeople, poses: PerfectPoses) -> dict[str, float]:
    """The ten figures of COCO's evaluation, every person with its annotated box and score 1.

    Raises:
        DataError: The annotations lack areas.
    """
    ones = torch.ones(len(people))
    document = people.pycocotools_dict()
    category = document["categories"][0]["id"]
    results = coco_results(people.image_ids, poses.coords, ones[:, None].expand(people.visible.shape), ones, category)
    return coco_ap(document, results)


def error_figures(poses: PerfectPoses) -> dict[str, float]:
    """Size of the errors of the joints on the map, in heatmap pixels.

    Returns:
        ``mean_x``, ``mean_y``, ``rms_x``, ``rms_y``; ``mean``, ``rms`` and ``p95`` (95th
        percentile) of the distance; ``joints``, how many there are.

    Raises:
        ValueError: No labelled joint lies on the map.
    """
    errors = poses.errors[poses.on_map]  # (M, 2)
    size = measure(errors)
    distances = errors.double().norm(dim=-1).sort().values
    p95 = distances[int(0.95 * (len(distances) - 1))]  # torch.quantile stops at 16 million values
    return {**vars(size), "p95": p95.item(), "joints": len(errors)}


def phase_figures(poses: PerfectPoses) -> dict[str, float]:
    """How evenly joints fall over their heatmap pixels, which the closed forms assume.

    Returns:
        For each axis ``mean_x``, ``mean_y`` (0 if even), ``rms_x``, ``rms_y``
        (1 / sqrt(12) = 0.2887 if even) and ``gap_x``, ``gap_y``: the largest
        difference between the distribution function and the even one
        (Kolmogorov-Smirnov).

    Raises:
        ValueError: No labelled joint lies on the map.
    """
    phases = poses.phases[poses.on_map].double()  # (M, 2)
    if len(phases) == 0:
        raise ValueError("no labelled people with joints on the map: there are no phases to describe")
    ordered = phases.sort(dim=0).values + 0.5  # (M, 2) in [0, 1)
    steps = torch.arange(1, len(ordered) + 1, dtype=torch.float64)[:, None] / len(ordered)
    gap = torch.maximum((steps - ordered).amax(0), (ordered - steps + 1 / len(ordered)).amax(0))
    figures = {"mean": phases.mean(0), "rms": phases.square().mean(0).sqrt(), "gap": gap}
    return {f"{name}_{axis}": value[i].item() for name, value in figures.items() for i, axis in enumerate("xy")}


def _fill_unlabelled(coords: Tensor, people: CocoPeople) -> Tensor:
    """Put the joints that are not labelled at the middle of their person's labelled ones."""
    labelled = (people.visible > 0)[..., None]  # (N, K, 1)
    middle = torch.where(labelled, people.joints, 0.0).sum(1, keepdim=True) / labelled.sum(1, keepdim=True)
    return torch.where(labelled, coords, middle)
