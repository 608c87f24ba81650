"""Reading COCO-layout annotations of any skeleton: persons as arrays, pictures on demand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calbook import geometry
from calbook.data.annotations import Entry, find_defects, load, person_category, selected
from calbook.data.defects import DataError, Defect
from calbook.data.pictures import open_picture
from calbook.geometry import Size
from calbook.skeletons import Skeleton, from_category

LAYOUT = "expected annotations/person_keypoints_<split>.json with its pictures in <split>/"

# What evaluation needs of an annotation. Segmentations are dropped: they are most of a file.
_KEPT = ("id", "image_id", "category_id", "iscrowd", "bbox", "area", "num_keypoints", "keypoints")


@dataclass(frozen=True, eq=False, repr=False)
class CocoPeople:
    """The persons of an annotation file, one row each, in the order of the file.

    Persons are selected as in the published readers: category person, not a
    crowd, at least one labelled joint. What is left out is kept aside, since COCO's
    evaluation ignores detections of it: see ``pycocotools_dict``.

    Attributes:
        skeleton: Joints and limbs as the file's category names them.
        boxes: ``(N, 4)`` as x, y, width, height in picture pixels, as annotated.
        joints: ``(N, K, 2)`` as (x, y) in picture pixels; (0, 0) where not labelled.
        visible: ``(N, K)`` int64, COCO's code: 0 not labelled, 1 hidden, 2 visible.
        areas: ``(N,)`` in square pixels, NaN where the file has none.
        image_ids: ``(N,)`` int64.
        ids: ``(N,)`` int64, the annotations' own ids.
        picture_sizes: ``(N, 2)`` int64, height and width of each person's picture.
        file_names: Each person's picture file, relative to ``pictures``.
        pictures: Folder of the pictures, or None.
    """

    skeleton: Skeleton
    boxes: Tensor
    joints: Tensor
    visible: Tensor
    areas: Tensor
    image_ids: Tensor
    ids: Tensor
    picture_sizes: Tensor
    file_names: tuple[str, ...]
    pictures: Path | None
    _document: Entry

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}({len(self)} persons, skeleton={self.skeleton.name!r}, pictures={str(self.pictures)!r})"

    def clean_boxes(self) -> tuple[Tensor, Tensor]:
        """The boxes ``(N, 4)`` that crops are made of, and which of them are usable ``(N,)``.

        Clipped to the pictures as the published readers of COCO do, see
        ``geometry.clean_boxes``. Sets whose published crops are made otherwise say so here.
        """
        return geometry.clean_boxes(self.boxes, self.picture_sizes)

    def picture(self, index: int) -> Tensor:
        """The whole picture of a person, ``(3, H, W)``, RGB in [0, 1], opened now.

        Raises:
            DataError: There is no folder of pictures, the file is damaged, or its
                size is not the annotated one.
        """
        path = self.picture_path(index)
        picture = open_picture(path)
        height, width = self.picture_sizes[index].tolist()
        check_size(path, (picture.shape[1], picture.shape[2]), (height, width))
        return picture

    def picture_path(self, index: int) -> Path:
        """The picture file of a person.

        Raises:
            DataError: The people were read without their pictures' folder.
        """
        if self.pictures is None:
            remedy = "name their folder: read(path, pictures)"
            raise DataError(Defect(self.file_names[index], "", "", "read without its pictures' folder", remedy))
        return self.pictures / self.file_names[index]

    def pycocotools_dict(self) -> Entry:
        """The document for COCO's evaluation, with crowds and persons without joints, as a fresh copy."""
        return {key: [dict(entry) for entry in entries] for key, entries in self._document.items()}


def check_size(path: Path, size: Size, annotated: Size) -> None:
    """Refuse a picture whose size (height, width) is not the annotated one.

    Raises:
        DataError: It is not.
    """
    if size != annotated:
        problem = f"the picture is {size[0]}x{size[1]}, annotated as {annotated[0]}x{annotated[1]} (height x width)"
        raise DataError(Defect(str(path), "", "", problem, "get the original picture"))


def read(path: Path | str, pictures: Path | str | None = None) -> CocoPeople:
    """Read a COCO-layout annotation file, ``.json`` or ``.json.gz``.

    Entries of other categories are skipped. A person's entry that is malformed is
    never skipped in silence.

    Args:
        path: The annotation file.
        pictures: Folder of the pictures; they are opened only on demand. For the
            usual layouts ``pictures_folder`` knows it.

    Raises:
        DataError: The file is cut short or an entry is malformed; one line with
            file, entry, field and what to do. ``find_defects`` lists all.
        OSError: The file cannot be opened.
    """
    path = Path(path)
    document = load(path)
    for defect in find_defects(document, str(path)):
        if defect.severity == "fatal":
            raise DataError(defect)
    return from_document(document, pictures)


def from_document(document: Entry, pictures: Path | str | None = None) -> CocoPeople:
    """The persons of a sound document in COCO's layout, such as ``load`` returns.

    Args:
        document: Without fatal defects, see ``find_defects``; not checked again.
        pictures: Folder of the pictures, or None.
    """
    category = person_category(document)
    entries = [entry for entry in document["annotations"] if entry["category_id"] == category["id"]]
    persons = [entry for entry in entries if selected(entry)]
    images: dict[int, Entry] = {image["id"]: image for image in document["images"]}
    own = [images[person["image_id"]] for person in persons]
    keypoints = _floats([person["keypoints"] for person in persons], len(category["keypoints"]), 3)
    return CocoPeople(
        skeleton=from_category(category["keypoints"], category.get("skeleton", ())),
        boxes=_floats([person["bbox"] for person in persons], 4),
        joints=keypoints[..., :2].contiguous(),
        visible=keypoints[..., 2].long(),
        areas=_floats([person.get("area", torch.nan) for person in persons]),
        image_ids=_integers([person["image_id"] for person in persons]),
        ids=_integers([person["id"] for person in persons]),
        picture_sizes=_integers([(image["height"], image["width"]) for image in own], 2),
        file_names=tuple(image["file_name"] for image in own),
        pictures=None if pictures is None else Path(pictures),
        _document={
            "images": document["images"],
            "categories": [category],
            "annotations": [{key: entry[key] for key in _KEPT if key in entry} for entry in entries],
        },
    )


def annotation_files(folder: Path | str) -> list[Path]:
    """The keypoint annotation files of a data folder, sorted.

    COCO's ``annotations/person_keypoints_<split>.json`` and the layout of single-split
    sets, ``annotations/<name>_keypoints.json``; each may be compressed (``.gz``).
    """
    return sorted(
        path
        for path in (Path(folder) / "annotations").glob("*keypoints*.json*")
        if path.name.removesuffix(".gz").endswith(".json") and _split(path) is not None
    )


def pictures_folder(annotation_file: Path | str) -> Path:
    """Where the pictures of an annotation file are, in the layouts of ``annotation_files``.

    >>> pictures_folder("coco/annotations/person_keypoints_val2017.json").as_posix()
    'coco/val2017'
    >>> pictures_folder("lspet/annotations/lspet_keypoints.json").as_posix()
    'lspet/images'
    """
    path = Path(annotation_file)
    return path.parent.parent / (_split(path) or "images")


def read_split(folder: Path | str, split: str) -> CocoPeople:
    """Read one split of a data folder, with its pictures.

    Args:
        folder: A folder in COCO's layout.
        split: Such as ``val2017``; for single-split sets ``images``.

    Raises:
        DataError: The folder has no such split or two files of it, or as in ``read``.
    """
    splits: dict[str, list[Path]] = {}
    for path in annotation_files(folder):
        splits.setdefault(pictures_folder(path).name, []).append(path)
    if split not in splits:
        remedy = f"choose one of {', '.join(splits)}" if splits else LAYOUT
        raise DataError(Defect(str(folder), "", "", f"no split {split!r}", remedy))
    for defect in clashes(splits[split]):
        raise DataError(defect)
    return read(splits[split][0], pictures_folder(splits[split][0]))


def clashes(files: Sequence[Path]) -> Iterator[Defect]:
    """A defect for every annotation file of a split that an earlier file already describes."""
    first: dict[Path, Path] = {}
    for file in files:
        other = first.setdefault(pictures_folder(file), file)
        if other != file:
            problem = f"describes the same pictures as {other.name}, those in {pictures_folder(file).name}/"
            yield Defect(str(file), "", "", problem, "remove or rename one of the two files")


def _split(path: Path) -> str | None:
    """The split in a file's name, ``images`` where it names none; None for other files."""
    name = path.name.removesuffix(".gz").removesuffix(".json")
    if name.startswith("person_keypoints_"):
        return name.removeprefix("person_keypoints_")
    return "images" if name.endswith("_keypoints") else None


def _floats(values: list[Any], *row: int) -> Tensor:
    """A float32 tensor ``(N, *row)``, also for no persons at all."""
    return torch.tensor(values, dtype=torch.float32).reshape(len(values), *row)


def _integers(values: list[Any], *row: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64).reshape(len(values), *row)
