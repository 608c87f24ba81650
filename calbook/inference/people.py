"""Predicting the people of a data set, for validation and evaluation."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from calbook.codecs.base import Codec
from calbook.data.coco import CocoPeople, check_size
from calbook.data.defects import DataError, Defect
from calbook.data.pictures import read_pixels
from calbook.geometry import Size
from calbook.inference.boxes import Boxes, annotated_boxes
from calbook.inference.cutting import Cutter
from calbook.inference.stream import Job, home_of, stream


@dataclass(frozen=True, eq=False)
class Predictions:
    """Poses in the order of the boxes that they were found in.

    Attributes:
        coords: ``(N, K, 2)`` as (x, y) in picture pixels, float32.
        scores: ``(N, K)``, of the joints.
        image_ids: ``(N,)`` int64.
        box_scores: ``(N,)``, the detector's; 1 for annotated boxes.
        areas: ``(N,)``, of the padded crops in square picture pixels: what the published
            OKS suppression scales by.
    """

    coords: Tensor
    scores: Tensor
    image_ids: Tensor
    box_scores: Tensor
    areas: Tensor

    def __len__(self) -> int:
        return len(self.image_ids)


def predict_people(
    model: nn.Module,
    codec: Codec,
    people: CocoPeople,
    *,
    boxes: Boxes | None = None,
    flip: bool = True,
    shift: bool = False,
    batch_size: int = 64,
    workers: int = 2,
    cutter: Cutter | None = None,
    device: torch.device | str | None = None,
    fast: bool = True,
    shared: bool = False,
    progress: bool = False,
) -> Predictions:
    """Predict every box of a data set; each picture is decoded once.

    A pose does not depend on the batch that its crop was in: batch norms use their
    learnt statistics, and every crop is cut on its own. Batches of 1, 7 and 64 give the
    same coordinates to 1e-5 pixels and a float32's last digit. Only DARK's Newton step,
    on maps that are almost flat, can turn the rounding of another batch into
    thousandths of a pixel.

    Args:
        model: From normalised images to ``PoseMaps``; not changed.
        codec: Decodes the maps.
        people: The data set, with its pictures' folder.
        boxes: Where to look; by default the annotated boxes, so that row i is person i.
        flip: Look a second time in a mirror, see ``predict_crops``.
        shift: The published shift of the mirrored maps, see ``predict_crops``.
        batch_size: Crops that the network sees at once.
        workers: Threads that read pictures.
        cutter: Cuts the crops; ``Cutter(input_size, convention, antialias=False)`` is the published reader.
        device: Where the network runs; by default where it is.
        fast: Run ``fast_inference(model)``.
        shared: Divide the pictures among the processes of torch.distributed, all of which
            make this call; each gets the poses of all. Without such processes nothing changes.
        progress: Show a progress bar.

    Raises:
        DataError: A picture is missing, damaged or not of its annotated size; or another
            process that shares the work has ended.
    """
    boxes = annotated_boxes(people) if boxes is None else boxes
    count, joints = len(boxes), people.skeleton.num_joints
    coords, scores = torch.zeros(count, joints, 2), torch.zeros(count, joints)
    areas = torch.zeros(count)
    share = _share() if shared else (0, 1)
    jobs = _jobs(people, boxes, share)
    bar = tqdm(total=sum(len(job.key) for job in jobs), unit="person", disable=not progress, leave=False)
    poses = stream(
        model,
        codec,
        jobs,
        mirror=people.skeleton.mirror if flip else None,
        shift=shift,
        batch_size=batch_size,
        workers=workers,
        cutter=cutter,
        device=device,
        fast=fast,
    )
    with bar:
        for found in poses:
            coords[found.key], scores[found.key] = found.coords.float(), found.scores
            areas[found.key] = found.crops.extent.prod(-1).float()
            bar.update(len(found.key))
    if share != (0, 1):  # rows of the others are zero, so that the sum is the whole
        home = home_of(model) if device is None else torch.device(device)
        coords, scores, areas = (_summed(part, home) for part in (coords, scores, areas))
    return Predictions(coords, scores, boxes.image_ids, boxes.scores, areas)


def _share() -> tuple[int, int]:
    """Number of this process, and how many there are."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def _summed(part: Tensor, device: torch.device) -> Tensor:
    """The sum over all processes; NCCL adds what is on GPUs."""
    moved = part.to(device)
    try:
        dist.all_reduce(moved)
    except RuntimeError as error:  # how torch tells that another process is gone
        problem = f"another process has ended ({str(error).splitlines()[0]})"
        raise DataError(Defect("shared prediction", "", "", problem, "see what it said")) from None
    return moved.to(part.device)


class _Picture(NamedTuple):
    path: Path
    size: Size


def _jobs(people: CocoPeople, boxes: Boxes, share: tuple[int, int]) -> list[Job]:
    """A job for each picture with boxes that is this process's; its key is the rows of the boxes."""
    order = torch.argsort(boxes.image_ids, stable=True)
    ids, counts = torch.unique_consecutive(boxes.image_ids[order], return_counts=True)
    pictures = _pictures(people)
    groups = list(zip(ids.tolist(), order.split(counts.tolist()), strict=True))
    return [
        Job(rows, partial(_open, pictures[image_id]), boxes.boxes[rows])
        for image_id, rows in groups[share[0] :: share[1]]
    ]


def _pictures(people: CocoPeople) -> dict[int, _Picture]:
    """Path and size of each picture, by id."""
    if people.pictures is None:
        remedy = "name their folder: read(path, pictures)"
        raise DataError(Defect("annotations", "", "", "read without their pictures' folder", remedy))
    folder = people.pictures
    images = people.pycocotools_dict()["images"]
    return {image["id"]: _Picture(folder / image["file_name"], (image["height"], image["width"])) for image in images}


def _open(picture: _Picture) -> Tensor:
    """The pixels of a picture of the data set, which has the annotated size."""
    pixels = read_pixels(picture.path)
    check_size(picture.path, (pixels.shape[1], pixels.shape[2]), picture.size)
    return pixels
