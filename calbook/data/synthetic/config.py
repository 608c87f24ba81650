"""What the synthetic pictures are made of, and the record they come in."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Range = tuple[float, float]  # (lowest, highest) of a uniform distribution


class SyntheticBatch(NamedTuple):
    """Pictures with everything that is known about the people in them.

    Attributes:
        pictures: ``(N, 3, H, W)`` in [0, 1], red, green, blue.
        joints: ``(N, P, 17, 2)`` as (x, y) in picture pixels, pixel centres at
            integers; (0, 0) where ``visible`` is 0.
        visible: ``(N, P, 17)`` COCO codes: 2 in sight, 1 inside the picture but
            hidden by an object, another person or the own body, 0 outside.
        boxes: ``(N, P, 4)`` as x, y, width, height in pixels, tight around the
            visible pixels of each person.
        areas: ``(N, P)`` number of visible pixels of each person.
        present: ``(N, P)`` whether the slot holds a person of whom at least one
            joint is labelled; the other values of an empty slot are zero.
    """

    pictures: Tensor
    joints: Tensor
    visible: Tensor
    boxes: Tensor
    areas: Tensor
    present: Tensor


@dataclass(frozen=True)
class SceneConfig:
    """The distribution that scenes are drawn from.

    The default shows the main person as a crop of a pose data set does: the box
    padded by about 1.25. ``PHOTOGRAPHS`` has the framing of whole photographs.

    Attributes:
        people: Probability of 1, 2, 3 ... people; its length is P.
        fill: Size of the main person's padded box relative to the picture.
        shift: Largest shift of that box, as a share of the picture's sides.
        cut: Probability that the frame leaves out the main person's lower part.
        distance: Camera to main person, metres.
        pitch: Downward tilt of the camera, degrees.
        roll: Largest sideways tilt of the camera, degrees.
        children: Probability that a person is a child.
        occluder: Probability of an object in front of the main person.
        outdoors: Probability of an open scene (else a room).
        noise: Standard deviation of the sensor noise, in units of full scale.
        blur: Weight of the two neighbours in the smoothing of rows and columns.
        cast: Largest relative gain of a colour channel.
    """

    people: tuple[float, ...] = (0.60, 0.26, 0.14)
    fill: Range = (0.80, 1.12)
    shift: float = 0.04
    cut: float = 0.12
    distance: Range = (2.6, 9.0)
    pitch: Range = (-8.0, 28.0)
    roll: float = 8.0
    children: float = 0.18
    occluder: float = 0.35
    outdoors: float = 0.55
    noise: Range = (0.0, 0.026)
    blur: Range = (0.0, 0.22)
    cast: float = 0.08

    def __post_init__(self) -> None:
        if not self.people or min(self.people) < 0 or abs(sum(self.people) - 1) > 1e-6:
            raise ValueError(f"SceneConfig.people must be probabilities that sum to 1, got {self.people}")
        for name in ("fill", "distance", "pitch", "noise", "blur"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"SceneConfig.{name} must be (lowest, highest), got {(low, high)}")
        for name in ("cut", "children", "occluder", "outdoors"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"SceneConfig.{name} is a probability, got {getattr(self, name)}")
        if self.fill[0] <= 0 or self.distance[0] < 1.5:
            raise ValueError("SceneConfig.fill must be positive and SceneConfig.distance at least 1.5 m")


CROPS = SceneConfig()
PHOTOGRAPHS = SceneConfig(fill=(0.35, 1.0), shift=0.22, people=(0.45, 0.33, 0.22))
