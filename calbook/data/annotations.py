"""COCO's keypoint annotation format: loading a file, and finding what is wrong with it.

A document has ``categories`` (one of them with joint names in ``keypoints``),
``images`` (``id``, ``file_name``, ``width``, ``height``) and ``annotations``
(``id``, ``image_id``, ``category_id``, ``iscrowd``, ``bbox`` as x, y, width,
height, ``num_keypoints``, ``keypoints`` as x, y, v for every joint and, for
evaluation, ``area``). Keypoints may lie outside their box, boxes may overlap,
and what crowd regions hold besides is not looked at.
"""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

from calbook.data.defects import DataError, Defect, Severity, shown

Entry = dict[str, Any]

LARGEST = 1e9  # no coordinate or area is this large; NaN and infinity fail the comparison too

UNPACKED = 4 << 30  # bytes that a ``.gz`` may unpack to; COCO's largest file has an eighth of it

_COPY = "copy or download the file again"


def read_bytes(path: Path) -> bytes:
    """What is in a file, unpacked where its name ends in ``.gz``.

    Raises:
        DataError: It is cut short, damaged, or far larger than annotations are.
        OSError: It cannot be opened.
    """
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        with gzip.open(path) as file:
            found = file.read(UNPACKED + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise DataError(Defect(str(path), "", "", "the compressed file is cut short or damaged", _COPY)) from None
    if len(found) > UNPACKED:
        problem = f"unpacks to more than {UNPACKED >> 20} MiB"
        raise DataError(Defect(str(path), "", "", problem, "unpack it yourself if you trust it"))
    return found


def load(path: Path | str) -> Any:
    """Parse a ``.json`` or ``.json.gz`` file.

    Raises:
        DataError: The file is cut short, not JSON, not what its name says or far too large.
        OSError: The file cannot be opened.
    """
    path = Path(path)
    text = read_bytes(path)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if not text.strip():
            problem = "the file is empty"
        elif error.msg.startswith("Unterminated") or _is_beginning(error.doc[error.pos :].strip()):
            problem = f"the file ends in the middle (line {error.lineno}, column {error.colno})"
        else:
            problem = f"not valid JSON at line {error.lineno}, column {error.colno} ({error.msg})"
    except UnicodeDecodeError as error:
        problem = f"not text at byte {error.start}"
    except ValueError as error:  # a number of thousands of digits
        problem = f"not valid JSON ({error})"
    except RecursionError:
        problem = "nested far too deeply to be annotations"
    raise DataError(Defect(str(path), "", "", problem, _COPY))


def _is_beginning(rest: str) -> bool:
    """Whether what a parser stopped at is nothing, or the first letters of a value."""
    return any(value.startswith(rest) for value in ("true", "false", "null", "NaN", "-Infinity"))


def person_category(document: Entry) -> Entry:
    """The category whose joints are read: the one called person, else the only one with joints."""
    posed = [category for category in document["categories"] if category.get("keypoints")]
    return next((category for category in posed if category.get("name") == "person"), posed[0])


def selected(annotation: Entry) -> bool:
    """Whether a person is trained and scored on: not a crowd, and at least one joint labelled.

    The published selection is ``iscrowd`` false, category person and
    ``max(keypoints) > 0``; the same, since COCO writes 0, 0, 0 for a joint that
    is not labelled.
    """
    return not annotation["iscrowd"] and any(v > 0 for v in annotation["keypoints"][2::3])


def find_defects(document: Any, file: str) -> Iterator[Defect]:
    """Everything that is wrong with a document, entry by entry.

    After a defect of the top level the rest is not looked at, since it could not
    be understood.

    Args:
        document: What ``load`` returned.
        file: How to call the file in messages.
    """
    top = list(_top_level_defects(document, file))
    yield from top
    if top:
        return
    person = person_category(document)
    pictures: dict[int, Entry] = {}
    yield from _picture_defects(document["images"], pictures, file)
    seen: set[int] = set()
    for index, annotation in enumerate(document["annotations"]):
        entry = _name("annotation", index, annotation)
        yield from _id_defects(annotation, entry, seen, file)
        if isinstance(annotation, dict):
            yield from _annotation_defects(annotation, entry, person, pictures, file)


def _top_level_defects(document: Any, file: str) -> Iterator[Defect]:
    if not isinstance(document, dict):
        remedy = "write an object with the lists images, annotations and categories"
        yield Defect(file, "", "", f"the top level is {_kind(document)}, not an object", remedy)
        return
    for field in ("images", "annotations", "categories"):
        if field not in document:
            yield Defect(file, "", field, "missing", f"add the list {field!r}")
        elif not isinstance(document[field], list):
            yield Defect(file, "", field, f"is {_kind(document[field])}, not a list", "write a list of objects")
    categories = document.get("categories")
    if not isinstance(categories, list):
        return
    posed = False
    for index, category in enumerate(categories):
        joints = category.get("keypoints", []) if isinstance(category, dict) else None
        posed = posed or bool(joints)
        entry = _name("category", index, category)
        if not isinstance(joints, list) or not all(isinstance(name, str) for name in joints):
            yield Defect(file, entry, "keypoints", "not a list of joint names", "write one name per joint")
        elif len(set(joints)) < len(joints):
            yield Defect(file, entry, "keypoints", "a joint name occurs twice", "give every joint its own name")
        elif joints and not is_integer(category.get("id")):
            yield Defect(file, entry, "id", f"{shown(category.get('id'))} is not an integer", "number the category")
        elif joints and not _are_limbs(category.get("skeleton", []), len(joints)):
            remedy = f"write pairs of joint numbers from 1 to {len(joints)}"
            yield Defect(file, entry, "skeleton", "not a list of limbs", remedy)
    if not posed:
        yield Defect(file, "", "categories", "none has joint names", "add 'keypoints' to the person category")


def _picture_defects(entries: list[Any], pictures: dict[int, Entry], file: str) -> Iterator[Defect]:
    """Defects of the ``images`` list; fills ``pictures`` with the sound ones, by id."""
    seen: set[int] = set()
    names: set[str] = set()
    for index, picture in enumerate(entries):
        entry = _name("image", index, picture)
        yield from _id_defects(picture, entry, seen, file)
        if not isinstance(picture, dict):
            continue
        name = picture.get("file_name")
        sound = is_picture_name(name)
        if not sound:
            problem = _missing_or(picture, "file_name", "not the name of a file in the folder of the pictures")
            yield Defect(file, entry, "file_name", problem, "name its file, relative to that folder and without '..'")
        elif name in names:
            yield Defect(file, entry, "file_name", f"{shown(name)} occurs twice", "remove one entry", "warning")
        names.add(str(name))
        for field in ("width", "height"):
            if not is_integer(picture.get(field)) or picture[field] < 1:
                sound = False
                problem = _missing_or(picture, field, "not a positive integer")
                yield Defect(file, entry, field, problem, "write the picture's size in pixels")
        if sound and is_integer(picture.get("id")):
            pictures[picture["id"]] = picture


def _annotation_defects(
    annotation: Entry, entry: str, person: Entry, pictures: dict[int, Entry], file: str
) -> Iterator[Defect]:
    category = annotation.get("category_id")
    if not is_integer(category):
        problem = _missing_or(annotation, "category_id", "not an integer")
        yield Defect(file, entry, "category_id", problem, f"write {person['id']} for a person")
        return
    if category != person["id"]:
        return  # not a person: never read
    picture = pictures.get(annotation["image_id"]) if is_integer(annotation.get("image_id")) else None
    if picture is None:
        problem = _missing_or(annotation, "image_id", "not an image of this file")
        yield Defect(file, entry, "image_id", problem, "add the image or remove the annotation")
    if annotation.get("iscrowd") not in (0, 1):
        problem = _missing_or(annotation, "iscrowd", "neither 0 nor 1")
        yield Defect(file, entry, "iscrowd", problem, "write 0, or 1 for a crowd region")
        return
    keypoints = list(_keypoint_defects(annotation, entry, person, file))
    yield from keypoints
    if any(defect.severity == "fatal" for defect in keypoints):
        return
    # An entry that is never read (a crowd, a person without joints) may be odd: COCO's own files have such.
    severity: Severity = "fatal" if selected(annotation) else "warning"
    yield from _box_defects(annotation, entry, picture, severity, file)
    if severity == "fatal" and picture is not None:
        yield from _position_defects(annotation, entry, person, picture, file)


def _keypoint_defects(annotation: Entry, entry: str, person: Entry, file: str) -> Iterator[Defect]:
    names = person["keypoints"]
    values = annotation.get("keypoints")
    rule = f"write x, y, v for each of the {len(names)} joints"
    if not isinstance(values, list):
        yield Defect(file, entry, "keypoints", _missing_or(annotation, "keypoints", "not a list"), rule)
        return
    if len(values) != 3 * len(names):
        problem = f"has {len(values)} numbers instead of {3 * len(names)}"
        yield Defect(file, entry, "keypoints", problem, rule)
        return
    bad = [i for i, value in enumerate(values) if not is_finite(value)]
    for i in bad:
        problem = f"{'xyv'[i % 3]} of {names[i // 3]} is {shown(values[i])}, not a finite number"
        yield Defect(file, entry, "keypoints", problem, rule)
    if bad:
        return
    for name, v in zip(names, values[2::3], strict=True):
        if v not in (0, 1, 2):
            remedy = "write 0 (not labelled), 1 (hidden) or 2 (visible)"
            yield Defect(file, entry, "keypoints", f"v of {name} is {shown(v)}", remedy)
    labelled = sum(v > 0 for v in values[2::3])
    if annotation.get("num_keypoints") != labelled:
        problem = _missing_or(annotation, "num_keypoints", f"but {labelled} joints have v > 0")
        yield Defect(file, entry, "num_keypoints", problem, f"write {labelled}")


def _box_defects(
    annotation: Entry, entry: str, picture: Entry | None, severity: Severity, file: str
) -> Iterator[Defect]:
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(is_finite(value) for value in box):
        problem = _missing_or(annotation, "bbox", "not four finite numbers")
        yield Defect(file, entry, "bbox", problem, "write x, y, width, height in pixels")  # evaluation reads every box
        return
    x, y, width, height = box
    remedy = "correct the box or remove the annotation"
    for side, length in (("width", width), ("height", height)):
        if length <= 0:
            problem = f"the {side} of the box is {shown(length)}"
            yield Defect(file, entry, "bbox", problem, remedy, severity)
    if picture is not None and width > 0 and height > 0:
        across, down = picture["width"], picture["height"]
        where = f"{shown(box)} in a picture {across} wide and {down} high"
        if x >= across or y >= down or x + width <= 0 or y + height <= 0:
            yield Defect(file, entry, "bbox", f"the box lies outside the picture: {where}", remedy, severity)
        elif min(x, y, across - x - width, down - y - height) < -1:  # COCO's own rounding stays below a pixel
            mild: Severity = "error" if severity == "fatal" else "warning"
            yield Defect(file, entry, "bbox", f"the box reaches outside the picture: {where}", "clip the box", mild)
    area = annotation.get("area")
    if "area" in annotation and (not is_finite(area) or annotation["area"] <= 0):
        problem = f"{shown(area)} is not a positive number"
        yield Defect(file, entry, "area", problem, "write the person's area in square pixels", severity)


def _position_defects(annotation: Entry, entry: str, person: Entry, picture: Entry, file: str) -> Iterator[Defect]:
    values = annotation["keypoints"]
    for name, x, y, v in zip(person["keypoints"], values[0::3], values[1::3], values[2::3], strict=True):
        # Pixels reach from -1/2 to W - 1/2 where centres are whole numbers, from 0 to W where corners are: take both.
        if v > 0 and not (-0.5 <= x <= picture["width"] and -0.5 <= y <= picture["height"]):
            problem = f"{name} at ({x}, {y}) lies outside the picture"
            yield Defect(file, entry, "keypoints", problem, "mark it as not labelled (v = 0)", "warning")


def _id_defects(item: Any, entry: str, seen: set[int], file: str) -> Iterator[Defect]:
    """Defects of an entry's type and ``id``; notes the id in ``seen``."""
    if not isinstance(item, dict):
        yield Defect(file, entry, "", f"is {_kind(item)}, not an object", "write an object with named fields")
    elif not is_integer(item.get("id")):
        yield Defect(file, entry, "id", _missing_or(item, "id", "not an integer of 64 bits"), "number the entries")
    elif item["id"] in seen:
        yield Defect(file, entry, "id", "occurs twice", "give every entry its own id")
    else:
        seen.add(item["id"])
        if item["id"] == 0 and entry.startswith("annotation"):
            problem = "0 means 'no match' to COCO's evaluation, this person would count as missed"
            yield Defect(file, entry, "id", problem, "number annotations from 1", "error")


def _name(kind: str, index: int, item: Any) -> str:
    """How an entry is called: by its id, or by its place where it has none."""
    if isinstance(item, dict) and is_integer(item.get("id")):
        return f"{kind} {item['id']}"
    return f"{kind} at index {index}"


def _missing_or(item: Entry, field: str, problem: str) -> str:
    return f"{shown(item[field])}, {problem}" if field in item else "missing"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a truth value", type(None): "null"}
    return names.get(type(value), "a number")


def is_picture_name(value: Any) -> bool:
    """Whether a ``file_name`` leads to a file inside the folder of the pictures, and nowhere else."""
    return isinstance(value, str) and bool(value) and not (PurePath(value).anchor or ".." in PurePath(value).parts)


def is_integer(value: Any) -> bool:
    """Whether a JSON value is a whole number that an int64 tensor can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def is_finite(value: Any) -> bool:
    """Whether a JSON value is a number below ``LARGEST``."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _are_limbs(limbs: Any, joints: int) -> bool:
    return isinstance(limbs, list) and all(
        isinstance(limb, list) and len(limb) == 2 and all(is_integer(joint) and 1 <= joint <= joints for joint in limb)
        for limb in limbs
    )
