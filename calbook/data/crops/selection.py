"""Which people are trained on, and the rectangles that they are cut out by."""

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from calbook import geometry
from calbook.data.coco import CocoPeople
from calbook.geometry import CropBox, Size


def person_crops(people: CocoPeople, input_size: Size) -> CropBox:
    """The crops of annotated boxes: cleaned, grown to the input's shape and padded.

    A box that cleaning would drop (its person lies on the picture's very edge) is
    used as annotated.

    Args:
        people: N persons.
        input_size: Height and width of the network's input.

    Returns:
        Centres and extents ``(N, 2)`` in picture pixels.
    """
    cleaned, usable = people.clean_boxes()
    return geometry.box_to_crop(torch.where(usable[:, None], cleaned, people.boxes), input_size)


def select(people: CocoPeople) -> CocoPeople:
    """The people that the published readers train on: 149,813 of COCO train2017.

    Not a crowd and at least one labelled joint, which is true of all that
    ``coco.read`` returns; an area above 0, where the file has areas; a box that is
    valid after clipping to the picture. Hidden joints (visibility 1) are trained
    like visible ones.
    """
    _, usable = people.clean_boxes()
    has_area = people.areas.isnan() | (people.areas > 0)
    return subset(people, (usable & has_area & (people.visible > 0).any(1)).nonzero()[:, 0])


def subset(people: CocoPeople, indices: Tensor) -> CocoPeople:
    """Some of the people, in the order given, as if nobody else were annotated in their pictures.

    What evaluation ignores in these pictures (crowds, people without joints) stays.

    Args:
        people: N persons.
        indices: ``(M,)`` int64, rows of ``people``.
    """
    document = people.pycocotools_dict()
    persons, kept = set(people.ids.tolist()), set(people.ids[indices].tolist())
    images = set(people.image_ids[indices].tolist())
    document["images"] = [image for image in document["images"] if image["id"] in images]
    document["annotations"] = [
        entry
        for entry in document["annotations"]
        if entry["id"] in kept or (entry["id"] not in persons and entry["image_id"] in images)
    ]
    columns: dict[str, Any] = {field.name: getattr(people, field.name) for field in fields(people)}
    columns = {name: values[indices] for name, values in columns.items() if isinstance(values, Tensor)}
    return replace(
        people,
        **columns,
        file_names=tuple(people.file_names[index] for index in indices.tolist()),
        _document=document,
    )
