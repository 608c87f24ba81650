"""The one solid that everything is built of: an ellipsoid swept along a line.

A shape goes from point ``a`` to point ``b``; on the way an ellipsoid of half
axes ``r`` (along ``side``), ``ratio * r`` (across it) and ``cap * r`` (along the
line) grows or shrinks linearly. Round ones are limbs, flat wide ones a trunk,
those with ``a`` near ``b`` a head or a ball, those with a small cap a box seen
from its face. All of them project to one kind of outline (`camera.project`).
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
from torch import Tensor

Number = Tensor | float


class Material(NamedTuple):
    """Colour and pattern; every field has the leading shape of its owner.

    Attributes:
        colour: ``(..., 3)`` the main colour.
        second: ``(..., 3)`` the colour of the pattern.
        along: Weight of bands along the shape, in [0, 1].
        around: Weight of bands around it.
        print_: Weight of an irregular print.
        pitch: ``(..., 2)`` bands per metre along and around.
        folds: How strongly light and dark folds show.
    """

    colour: Tensor
    second: Tensor
    along: Number = 0.0
    around: Number = 0.0
    print_: Number = 0.0
    pitch: Tensor | None = None
    folds: Number = 0.06

    def packed(self) -> Tensor:
        """All of it as ``(..., 12)``."""
        lead = self.colour.shape[:-1]
        pitch = self.pitch if self.pitch is not None else self.colour.new_full((*lead, 2), 10.0)
        weights = [
            torch.as_tensor(value, dtype=self.colour.dtype, device=self.colour.device).expand(lead)
            for value in (self.along, self.around, self.print_, self.folds)
        ]
        return torch.cat([self.colour, self.second, torch.stack(weights, -1), pitch], dim=-1)


@dataclass(frozen=True)
class Shapes:
    """A set of S shapes with any leading dimensions, in world metres (y up).

    Attributes:
        a, b: ``(..., S, 3)`` end points.
        radii: ``(..., S, 2)`` half width at a and at b.
        side: ``(..., S, 3)`` unit vector of the half axis r.
        axis: ``(..., S, 3)`` unit vector of the line (given, since a may equal b).
        ratio: ``(..., S)`` thickness across ``side`` relative to r.
        cap: ``(..., S)`` length of the rounded ends relative to r.
        shade: ``(..., S, 2)`` brightness at a and at b (what little light reaches).
        roundness: ``(..., S)`` 1 shaded as round, 0 as a flat face.
        material: ``(..., S, 12)`` see `Material.packed`.
        active: ``(..., S)`` whether the shape exists.
    """

    a: Tensor
    b: Tensor
    radii: Tensor
    side: Tensor
    axis: Tensor
    ratio: Tensor
    cap: Tensor
    shade: Tensor
    roundness: Tensor
    material: Tensor
    active: Tensor

    def flatten(self) -> "Shapes":
        """``(N, P, S, ...)`` to ``(N, P * S, ...)``."""
        return Shapes(*(getattr(self, f.name).flatten(1, 2) for f in fields(self)))

    def shifted(self, offset: Tensor) -> "Shapes":
        """The shapes moved by ``offset (..., 3)``."""
        moved = {"a": self.a + offset[..., None, :], "b": self.b + offset[..., None, :]}
        return Shapes(*(moved.get(f.name, getattr(self, f.name)) for f in fields(self)))


def join(parts: list[Shapes]) -> Shapes:
    """Shapes ``(N, S1, ...)``, ``(N, S2, ...)`` ... as one set."""
    return Shapes(*(torch.cat([getattr(part, f.name) for part in parts], dim=1) for f in fields(Shapes)))


def unit(vector: Tensor) -> Tensor:
    """Vectors ``(..., 3)`` at length one (a zero vector stays zero)."""
    return vector / vector.square().sum(-1, keepdim=True).sqrt().clamp(min=1e-9)


def upward(like: Tensor) -> Tensor:
    """The world's upward direction, of the type of ``like``."""
    return like.new_tensor([0.0, 1.0, 0.0])


class ShapeList:
    """Collects shapes one by one and stacks them.

    Args:
        palette: Materials by name, each packed ``(*lead, 12)``.
    """

    def __init__(self, palette: dict[str, Tensor]) -> None:
        self.names = list(palette)
        self._palette = torch.stack(list(palette.values()), dim=-2)  # (*lead, G, 12)
        self._lead = self._palette.shape[:-2]
        self._columns: dict[str, list[Tensor]] = {f.name: [] for f in fields(Shapes)}

    def add(
        self,
        a: Tensor,
        b: Tensor,
        start: Number,
        end: Number,
        material: str | Tensor,
        *,
        side: Tensor | None = None,
        axis: Tensor | None = None,
        ratio: Number = 1.0,
        cap: Number = 1.0,
        shade: tuple[float, float] = (1.0, 1.0),
        roundness: float = 1.0,
        active: Tensor | None = None,
    ) -> None:
        """Append a shape from ``a`` to ``b (*lead, 3)``, half widths ``start`` and ``end`` in metres.

        ``material`` is a name of the palette or an index ``(*lead)`` into it.
        """
        axis = unit(b - a) if axis is None else axis
        if side is None:  # any direction across the axis serves a round shape
            helper = a.new_tensor([0.31, 0.23, 0.92])
            side = unit(torch.linalg.cross(axis, helper.expand_as(axis)))
        if isinstance(material, str):
            stuff = self._palette[..., self.names.index(material), :]
        else:
            index = material[..., None, None].expand(*self._lead, 1, self._palette.shape[-1])
            stuff = self._palette.gather(-2, index)[..., 0, :]
        exists = torch.ones(self._lead, dtype=torch.bool, device=a.device) if active is None else active
        row = {
            "a": a, "b": b, "side": side, "axis": axis, "material": stuff, "active": exists.expand(self._lead),
            "radii": torch.stack([self._full(start, a), self._full(end, a)], -1),
            "shade": a.new_tensor(shade).expand(*self._lead, 2),
            "ratio": self._full(ratio, a), "cap": self._full(cap, a), "roundness": self._full(roundness, a),
        }  # fmt: skip
        for name, value in row.items():
            self._columns[name].append(value)

    def _full(self, value: Number, like: Tensor) -> Tensor:
        return torch.as_tensor(value, dtype=like.dtype, device=like.device).expand(self._lead)

    def stack(self) -> Shapes:
        """All shapes so far, ``(*lead, S, ...)``."""
        depth = len(self._lead)
        return Shapes(*(torch.stack(self._columns[f.name], dim=depth) for f in fields(Shapes)))
