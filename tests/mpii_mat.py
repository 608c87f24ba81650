"""MPII's annotation in the structure of its published MATLAB file, for tests to fill."""

from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import savemat


def struct(**fields: Any) -> dict[str, Any]:
    """A MATLAB struct."""
    return fields


def as_structs(entries: list[dict[str, Any]]) -> Any:
    """A MATLAB struct array of dictionaries with the same fields."""
    array = np.zeros(len(entries), dtype=[(name, object) for name in entries[0]])
    for i, fields in enumerate(entries):
        array[i] = tuple(fields.values())
    return array


def write_mat(folder: Path, *pictures: tuple[str, list[dict[str, Any]]]) -> Path:
    """A file like the published one: (name, persons) for every picture."""
    annolist = [
        struct(image=struct(name=name), annorect=as_structs(persons) if persons else np.zeros((0, 0)), vidx=1.0)
        for name, persons in pictures
    ]
    release = struct(annolist=as_structs(annolist), img_train=np.ones(len(pictures)), version="12")
    file = folder / "mpii_human_pose_v1_u12_1.mat"
    savemat(file, {"RELEASE": release})
    return file


def of_json(entry: dict[str, Any]) -> tuple[str, list[dict[str, Any]]]:
    """A person of the JSON form as (name, persons), with a head box of its own."""
    points = [
        struct(x=x, y=y, id=float(number), is_visible=1.0)
        for number, ((x, y), flag) in enumerate(zip(entry["joints"], entry["joints_vis"], strict=True))
        if flag
    ]
    center = struct(x=entry["center"][0], y=entry["center"][1])
    person = struct(
        x1=1.0, y1=1.0, x2=9.0, y2=9.0, scale=entry["scale"], objpos=center, annopoints=struct(point=as_structs(points))
    )
    return entry["image"], [person]
