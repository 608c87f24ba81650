"""Leeds Sports Pose (Johnson and Everingham 2010) and its extension (2011): 14 joints, one person per picture.

A folder holds ``joints.mat`` and ``images/``. The two sets differ in all but
that, and are told apart by the shape of the array:

======  =================  ================  ========================================
set     ``joints``         pictures          third value of a joint
======  =================  ================  ========================================
LSP     ``(3, 14, N)``     ``im0001.jpg``    1 where it is hidden; all are labelled
LSPet   ``(14, 3, N)``     ``im00001.jpg``   1 where it is labelled
======  =================  ================  ========================================

Coordinates are taken as they are: the sets do not say whether the first pixel
is 0 or 1. There are no boxes; a person's box is the tight box of the labelled
joints, grown by a fifth of its size on every side and clipped to the picture.
LSP's first 1,000 pictures are for training, the others for testing; all of
LSPet is for training.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calbook.data.annotations import LARGEST
from calbook.data.coco import CocoPeople, from_document
from calbook.data.conversion import Person, clip_box, picture_size, to_document
from calbook.data.defects import DataError, Defect, shown
from calbook.data.matlab import load_mat
from calbook.skeletons import LSP

MARGIN = 0.2  # how much the box of the joints grows on every side, as a share of its width and height

_JOINTS = LSP.num_joints


def read(folder: Path | str) -> CocoPeople:
    """Read LSP or LSPet from its published folder (needs scipy).

    ``visible`` is 2 for a labelled joint, 1 where LSP says that it is hidden.
    Persons without any labelled joint are left out.

    Args:
        folder: With ``joints.mat`` and ``images/``.

    Raises:
        DataError: The annotations are malformed or a picture is missing, in one line.
        OSError: There is no ``joints.mat``.
    """
    folder = Path(folder)
    file = folder / "joints.mat"
    joints, digits = _joints(load_mat(file, "joints"), file)
    persons = list(_persons(joints, digits, file, folder / "images"))
    return from_document(to_document(LSP, persons, folder / "images"), folder / "images")


def _joints(array: object, file: Path) -> tuple[NDArray[np.float64], int]:
    """Joints ``(N, 14, 3)`` as x, y, v with COCO's v, and the number of digits in the pictures' names."""
    values = np.asarray(array)
    if values.dtype.kind not in "fiu" or values.ndim != 3 or values.shape[:2] not in ((3, _JOINTS), (_JOINTS, 3)):
        problem = f"an array of shape {values.shape}, expected (3, {_JOINTS}, N) or ({_JOINTS}, 3, N)"
        raise DataError(Defect(str(file), "", "joints", problem, "name the folder of LSP or LSPet as published"))
    extended = values.shape[0] == _JOINTS
    joints = values.transpose((2, 0, 1) if extended else (2, 1, 0)).astype(np.float64)  # (N, 14, 3)
    flags = joints[..., 2]
    if bad := np.argwhere(~np.isin(flags, (0, 1))).tolist():
        person, joint = bad[0]
        problem = f"the flag of {LSP.joints[joint]} is {shown(float(flags[person, joint]))}"
        raise DataError(Defect(str(file), f"person {person + 1}", "joints", problem, "write 0 or 1"))
    joints[..., 2] = 2 * flags if extended else 2 - flags
    return joints, 5 if extended else 4


def _persons(joints: NDArray[np.float64], digits: int, file: Path, pictures: Path) -> Iterator[Person]:
    for number, person in enumerate(joints, start=1):
        labelled = person[person[:, 2] > 0]
        if not len(labelled):
            continue
        if not (np.abs(labelled[:, :2]) < LARGEST).all():  # NaN fails, too
            remedy = "correct it, or flag the joint as not labelled"
            raise DataError(Defect(str(file), f"person {number}", "joints", "not a finite number", remedy))
        name = f"im{number:0{digits}d}.jpg"
        entries = [(float(x), float(y), int(v)) if v else (0.0, 0.0, 0) for x, y, v in person]
        yield Person(name, _box(labelled[:, :2], pictures / name), entries)


def _box(points: NDArray[np.float64], picture: Path) -> list[float]:
    """Box of points ``(n, 2)``, grown by ``MARGIN`` and clipped to the picture."""
    first, last = points.min(axis=0), points.max(axis=0)
    size = np.maximum(last - first, 1.0)  # one joint alone still gets a box
    x, y = (first - MARGIN * size).tolist()
    width, height = (size * (1 + 2 * MARGIN)).tolist()
    return clip_box((x, y, width, height), picture_size(picture))
