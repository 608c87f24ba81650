"""MPII Human Pose (Andriluka et al. 2014): 16 joints, crops by position and scale, head boxes for PCKh.

Three forms are read, told by the file's name:

``.mat``
    The published annotation, ``mpii_human_pose_v1_u12_1.mat`` (needs scipy).
``.json``
    The list of persons that most implementations use: ``image``, ``joints``,
    ``joints_vis``, ``center``, ``scale``.
``.csv``, ``.csv.gz``
    A table with one person per picture: joints and ``Scale``, no position.

All three count pixels from 1, as MATLAB does; here they count from 0. A person's
size is given as ``scale``, the height divided by 200, and the place as a point
on the body. As in the published readers the crop's centre is 15 * scale below
that point, and the box is the square of side 200 * scale around it, which
``geometry.box_to_crop`` then grows by 1.25.
"""

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calbook.data.annotations import is_finite, is_picture_name, load, read_bytes
from calbook.data.coco import CocoPeople, from_document
from calbook.data.conversion import Person, to_document, write_document
from calbook.data.defects import DataError, Defect, shown
from calbook.data.matlab import load_mat
from calbook.skeletons import MPII

ANNOTATION_FILE = "mpii_human_pose_v1_u12_1.mat"
PIXELS_PER_SCALE = 200.0  # a person of scale 1 is 200 pixels high
CENTER_SHIFT = 15.0  # how far below the annotated point a crop is centred, in pixels per scale
# The data set places upper neck and head top on a line through the centre of the head box, this share of its
# diagonal apart. Found by measuring: with it, the squared diagonals of 11,582 persons come out as whole numbers.
HEAD_JOINTS_SHARE = 0.8

_NECK, _TOP = MPII.joints.index("upper_neck"), MPII.joints.index("head_top")
_COLUMNS = tuple(name.replace("right_", "r ").replace("left_", "l ").replace("_", " ") for name in MPII.joints)

Point = tuple[float, float]
Joint = tuple[float, float, int]


@dataclass(frozen=True, eq=False, repr=False)
class MpiiPeople(CocoPeople):
    """Persons of MPII, with what PCKh needs: ``metrics.head_lengths`` takes the head boxes.

    Attributes:
        head_boxes: ``(N, 4)`` as x, y, width, height in picture pixels. Files
            without head boxes give the square of the same centre and diagonal, which is
            all that PCKh asks for; NaN where they have no head joints either.
    """

    head_boxes: Tensor

    def __post_init__(self) -> None:
        if len(self.head_boxes) != len(self.ids):
            raise ValueError(f"{len(self.head_boxes)} head boxes for {len(self.ids)} persons: select both alike")

    def clean_boxes(self) -> tuple[Tensor, Tensor]:
        """The boxes as they are, all usable: they stand for crops, which may reach out of the picture."""
        return self.boxes, torch.ones(len(self), dtype=torch.bool)


def read(path: Path | str, pictures: Path | str | None = None, heads: Path | str | None = None) -> MpiiPeople:
    """Read persons with joints from any of the three forms.

    ``visible`` is 2 for a labelled joint, 1 where the ``.mat`` file says that it is
    hidden. Persons without joints (all of the test pictures) and, in the ``.mat``
    file, without position or scale are left out.

    Args:
        path: ``.mat``, ``.json``, ``.csv`` or ``.csv.gz``.
        pictures: Folder of the pictures. Without it ``picture_sizes`` is 0, for no
            form tells them.
        heads: The published ``gt_valid.mat`` with the head boxes of the persons of a
            ``.json`` file; without it they follow from the head's joints.

    Raises:
        DataError: A file is malformed or a picture is missing, in one line.
        OSError: The annotation file cannot be opened.
    """
    path = Path(path)
    if _form(path) != ".json" and heads is not None:
        raise DataError(Defect(str(heads), "", "", f"head boxes go with a .json file, not with {path.name}", "omit it"))
    folder = None if pictures is None else Path(pictures)
    return from_persons(list(_persons(path)), folder, None if heads is None else Path(heads))


def from_persons(persons: Sequence[Person], pictures: Path | None, heads: Path | None = None) -> MpiiPeople:
    """Arrays of persons as the forms yield them, all of them labelled."""
    boxes = [person.more["head_box"] for person in persons]
    head_boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    if heads is not None:
        head_boxes = read_head_boxes(Path(heads), len(persons))
    people = from_document(to_document(MPII, persons, pictures), pictures)
    labelled = torch.tensor([any(v > 0 for _, _, v in person.joints) for person in persons], dtype=torch.bool)
    return MpiiPeople(**vars(people), head_boxes=head_boxes[labelled])


def _persons(path: Path) -> Iterator[Person]:
    """The persons of any of the three forms, labelled or not."""
    return {".mat": _persons_of_mat, ".json": _persons_of_json, ".csv": _persons_of_csv}[_form(path)](path)


def _form(path: Path) -> str:
    """``.mat``, ``.json`` or ``.csv``, compressed or not."""
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix not in (".mat", ".json", ".csv"):
        problem = "not a form of MPII's annotations"
        raise DataError(Defect(str(path), "", "", problem, "name a .mat, .json or .csv file"))
    return suffix


def write_coco_layout(annotations: Path, pictures: Path, file: Path) -> None:
    """Write the persons as an annotation file in COCO's layout, whole or not at all; one that exists is left alone.

    Boxes are clipped to the pictures there, as COCO's are, so that crops at the
    edge of a picture differ from the published ones; ``read`` gives those.

    Args:
        annotations: Any of the three forms.
        pictures: Folder of the pictures.
        file: What to write.

    Raises:
        DataError: As in ``read``.
    """
    if file.exists():
        return
    persons = [person._replace(more={}) for person in _persons(annotations)]
    write_document(to_document(MPII, persons, pictures), file)


def read_head_boxes(path: Path, count: int) -> Tensor:
    """Head boxes ``(count, 4)`` as x, y, width, height from the published ``gt_valid.mat``.

    Raises:
        DataError: It is another file, or of another number of persons.
    """
    corners = np.asarray(load_mat(path, "headboxes_src"))  # (2, 2, N): corner, x and y, person
    rule = "name the gt_valid.mat that goes with the .json file"
    if corners.shape != (2, 2, count) or corners.dtype.kind not in "fiu":
        problem = f"shape {corners.shape}, expected (2, 2, {count}), one head box per person"
        raise DataError(Defect(str(path), "", "headboxes_src", problem, rule))
    first, last = torch.from_numpy(corners.astype(np.float32)).permute(0, 2, 1)  # (N, 2) each
    if not (last > first).all():
        person = int((~(last > first).all(1)).nonzero()[0, 0])
        raise DataError(Defect(str(path), f"person {person + 1}", "headboxes_src", "an empty head box", rule))
    return torch.cat([first - 1, last - first], dim=1)


# --- the three forms -------------------------------------------------------------------------------------------------


def _persons_of_json(path: Path) -> Iterator[Person]:
    entries = load(path)
    if not isinstance(entries, list):
        raise DataError(Defect(str(path), "", "", "not a list of persons", "name MPII's own train.json or valid.json"))
    for index, entry in enumerate(entries):
        where = (str(path), f"person at index {index}")
        if not isinstance(entry, dict):
            raise DataError(
                Defect(*where, "", f"is {shown(entry)}, not an object", "write an object with named fields")
            )
        joints = _json_joints(entry, where)
        scale = _positive(entry.get("scale"), where, "scale")
        center = entry.get("center")
        if not (isinstance(center, list) and len(center) == 2 and all(is_finite(value) for value in center)):
            raise DataError(Defect(*where, "center", f"{shown(center)} is not a point", "write x and y in pixels"))
        point = None if center[0] == -1 else (center[0] - 1.0, center[1] - 1.0)
        yield _person(_name(entry.get("image"), where, "image"), joints, point, scale)


def _json_joints(entry: dict[str, Any], where: tuple[str, str]) -> list[Joint]:
    points, flags = entry.get("joints"), entry.get("joints_vis")
    if not isinstance(points, list) or len(points) != len(MPII.joints):
        problem = f"not a list of {len(MPII.joints)} points" if "joints" in entry else "missing"
        raise DataError(Defect(*where, "joints", problem, "write x and y of each joint"))
    if not isinstance(flags, list) or len(flags) != len(MPII.joints):
        problem = f"not a list of {len(MPII.joints)} flags" if "joints_vis" in entry else "missing"
        raise DataError(Defect(*where, "joints_vis", problem, "write 0 or 1 for each joint"))
    joints = []
    for name, point, flag in zip(MPII.joints, points, flags, strict=True):
        if flag not in (0, 1):
            problem = f"{shown(flag)} for {name}, neither 0 nor 1"
            raise DataError(Defect(*where, "joints_vis", problem, "write 0 or 1 for each joint"))
        if not (isinstance(point, list) and len(point) == 2 and all(is_finite(value) for value in point)):
            problem = f"{shown(point)} for {name} is not a point"
            raise DataError(Defect(*where, "joints", problem, "write x and y of each joint"))
        joints.append(_joint(point[0] - 1.0, point[1] - 1.0, 2 if flag else 0))
    return joints


def _persons_of_csv(path: Path) -> Iterator[Person]:
    rows = csv.DictReader(io.StringIO(_text(path)))
    wanted = ["NAME", "Scale", *(f"{joint}_{axis}" for joint in _COLUMNS for axis in "XY")]
    if missing := [name for name in wanted if name not in (rows.fieldnames or ())]:
        remedy = "name a table with the columns NAME, Scale and _X, _Y of each joint"
        raise DataError(Defect(str(path), "", missing[0], "the column is missing", remedy))
    for row in rows:
        where = (str(path), f"line {rows.line_num}")
        values = {name: _number(row[name], where, name) for name in wanted[1:]}
        joints = []
        for name in _COLUMNS:
            x, y = values[f"{name}_X"], values[f"{name}_Y"]
            joints.append(_joint(x - 1.0, y - 1.0, 0 if x == y == -1 else 2))
        yield _person(_name(row["NAME"], where, "NAME"), joints, None, _positive(values["Scale"], where, "Scale"))


def _text(path: Path) -> str:
    """The text of a file, ``.gz`` or not."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"not text at byte {error.start}"
        raise DataError(Defect(str(path), "", "", problem, "copy or download the file again")) from None


def _persons_of_mat(path: Path) -> Iterator[Person]:
    release = load_mat(path, "RELEASE", squeeze_me=True, struct_as_record=False)
    for number, picture in enumerate(_structs(getattr(release, "annolist", None)), start=1):
        name = getattr(getattr(picture, "image", None), "name", None)
        for rank, person in enumerate(_structs(getattr(picture, "annorect", None)), start=1):
            where = (str(path), f"annolist({number}).annorect({rank})")
            points = _structs(getattr(getattr(person, "annopoints", None), "point", None))
            place = getattr(person, "objpos", None)
            scale = getattr(person, "scale", None)
            if not points or _empty(place) or _empty(scale):
                continue  # a person of the test pictures, or one that nobody annotated
            joints = _mat_joints(points, where)
            center = tuple(_number(getattr(place, axis, None), where, f"objpos.{axis}") - 1.0 for axis in "xy")
            box = _mat_head_box(person, where)
            yield _person(
                _name(name, where, "image.name"), joints, (center[0], center[1]), _positive(scale, where, "scale"), box
            )


def _mat_joints(points: Sequence[Any], where: tuple[str, str]) -> list[Joint]:
    joints: list[Joint] = [(0.0, 0.0, 0)] * len(MPII.joints)
    for point in points:
        index = _number(getattr(point, "id", None), where, "annopoints.point.id")
        if index not in range(len(MPII.joints)):
            raise DataError(
                Defect(*where, "annopoints.point.id", f"{shown(index)} is no joint", "number them from 0 to 15")
            )
        field = f"annopoints.point.x, y of {MPII.joints[int(index)]}"
        x, y = (_number(getattr(point, axis, None), where, field) - 1.0 for axis in "xy")
        flag = getattr(point, "is_visible", None)  # not stated for the head's two joints
        hidden = not _empty(flag) and _number(flag, where, "annopoints.point.is_visible") == 0
        joints[int(index)] = _joint(x, y, 1 if hidden else 2)
    return joints


def _mat_head_box(person: Any, where: tuple[str, str]) -> list[float] | None:
    corners = [getattr(person, field, None) for field in ("x1", "y1", "x2", "y2")]
    if any(_empty(value) for value in corners):
        return None
    x1, y1, x2, y2 = (_number(value, where, "x1, y1, x2, y2") for value in corners)
    if x2 <= x1 or y2 <= y1:
        raise DataError(Defect(*where, "x1, y1, x2, y2", "an empty head box", "correct the box or remove the person"))
    return [x1 - 1, y1 - 1, x2 - x1, y2 - y1]


def _structs(value: Any) -> list[Any]:
    """The structs of a MATLAB field: one, several or none, for scipy squeezes what is single."""
    return [item for item in np.atleast_1d(np.asarray(value, dtype=object)).flat if hasattr(item, "_fieldnames")]


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, np.ndarray | str) and len(np.atleast_1d(value)) == 0) or value == ""


# --- what the forms have in common -----------------------------------------------------------------------------------


def _person(
    name: str, joints: list[Joint], point: Point | None, scale: float, head_box: list[float] | None = None
) -> Person:
    """A person of 0-based joints; ``point`` is the annotated place, None where the form has none.

    Without a place the middle of the labelled joints is the centre of the box: it is
    near where the annotated one ends up after its shift, yet not the same.
    """
    side = PIXELS_PER_SCALE * scale
    x, y = _middle(joints) if point is None else (point[0], point[1] + CENTER_SHIFT * scale)
    box = [x - side / 2, y - side / 2, side, side]
    return Person(name, box, joints, {"head_box": head_box or head_box_of(joints)})


def head_box_of(joints: Sequence[Joint]) -> list[float]:
    """The square with the head box's centre and diagonal, from the two joints of the head.

    NaN where one of them is not labelled.
    """
    (x1, y1, v1), (x2, y2, v2) = joints[_NECK], joints[_TOP]
    if not (v1 and v2):
        return [math.nan] * 4
    side = math.hypot(x2 - x1, y2 - y1) / HEAD_JOINTS_SHARE / math.sqrt(2)
    return [(x1 + x2 - side) / 2, (y1 + y2 - side) / 2, side, side]


def _joint(x: float, y: float, v: int) -> Joint:
    return (x, y, v) if v else (0.0, 0.0, 0)


def _middle(joints: Sequence[Joint]) -> Point:
    """Middle of the tight box of the labelled joints."""
    labelled = [joint for joint in joints if joint[2]] or [(0.0, 0.0, 0)]
    xs, ys = [x for x, _, _ in labelled], [y for _, y, _ in labelled]
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2


def _name(value: Any, where: tuple[str, str], field: str) -> str:
    if not is_picture_name(value):
        problem = f"{shown(value)}, not the name of a file in the folder of the pictures"
        raise DataError(Defect(*where, field, problem, "name its file, relative to that folder and without '..'"))
    return str(value)


def _number(value: Any, where: tuple[str, str], field: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not is_finite(number):
        raise DataError(Defect(*where, field, f"{shown(value)} is not a finite number", "correct it"))
    return number


def _positive(value: Any, where: tuple[str, str], field: str) -> float:
    number = _number(value, where, field)
    if number <= 0 or isinstance(value, bool | str):
        raise DataError(Defect(*where, field, f"{shown(value)} is not a positive number", "write the height / 200"))
    return number
