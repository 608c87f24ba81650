"""What the loader is timed against: the published data readers, one person at a time.

The published implementations open a person's whole picture, draw the augmentation with
NumPy, mirror the picture, warp it by an affine map and move the joints one by one. This
reader does the same steps in the same order. Pillow opens and warps; OpenCV, which
the published code uses, warps where it is installed. ``WARP`` says which was.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from calbook.data.coco import CocoPeople
from calbook.data.crops import person_crops
from calbook.data.crops.halves import lower_body

try:
    import cv2

    WARP = f"opencv {cv2.__version__}"
except ImportError:
    WARP = "pillow"

Array = NDArray[np.float64]


class PlainReader:
    """Augmented crops of people, decoded and warped whenever they are asked for.

    Args:
        people: With their pictures' folder.
        size: Height and width of the crops.
        seed: Of the augmentation.
    """

    def __init__(self, people: CocoPeople, size: tuple[int, int], seed: int = 0) -> None:
        self.people, self.size, self.random = people, size, np.random.default_rng(seed)
        self.joints, self.visible = people.joints.double().numpy(), people.visible.numpy()
        crops = person_crops(people, size)
        self.centers, self.extents = crops.center.double().numpy(), crops.extent.double().numpy()
        self.lower = np.array(lower_body(people.skeleton))

    def batch(self, indices: list[int]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images ``(B, 3, H, W)`` in [0, 1], joints ``(B, K, 2)`` in input pixels, visibilities ``(B, K)``."""
        images, joints, visible = zip(*(self.person(index) for index in indices), strict=True)
        return torch.stack(images), torch.from_numpy(np.stack(joints)), torch.from_numpy(np.stack(visible))

    def person(self, index: int, *, augment: bool = True) -> tuple[torch.Tensor, Array, NDArray[np.int64]]:
        """One person's crop, joints and visibilities."""
        with Image.open(self.people.pictures / self.people.file_names[index]) as file:
            picture = file.convert("RGB")
        joints, visible = self.joints[index].copy(), self.visible[index].copy()
        center, extent, angle = self.centers[index].copy(), self.extents[index].copy(), 0.0
        if augment:
            if (visible > 0).sum() > 8 and self.random.random() < 0.3:
                center, extent = self.half_body(joints, visible)
            extent = extent * np.clip(self.random.standard_normal() * 0.35 + 1, 0.65, 1.35)
            if self.random.random() <= 0.6:
                angle = float(np.clip(self.random.standard_normal() * 45, -90, 90))
            if self.random.random() <= 0.5:
                picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
                mirror = list(self.people.skeleton.mirror)
                joints, visible = joints[mirror], visible[mirror]
                joints[:, 0] = picture.width - 1 - joints[:, 0]
                center[0] = picture.width - 1 - center[0]
        back = self.inverse(center, extent, angle)
        forward = np.linalg.inv(np.vstack([back, [0, 0, 1]]))[:2]
        for k in range(len(joints)):
            if visible[k] > 0:
                joints[k] = forward @ np.array([joints[k, 0], joints[k, 1], 1.0])
        return self.warp(picture, back), joints, visible

    def half_body(self, joints: Array, visible: NDArray[np.int64]) -> tuple[Array, Array]:
        """Centre and extent of the crop around one half of the body."""
        upper = [joints[k] for k in range(len(joints)) if visible[k] > 0 and not self.lower[k]]
        lower = [joints[k] for k in range(len(joints)) if visible[k] > 0 and self.lower[k]]
        first = self.random.standard_normal() < 0.5 and len(upper) > 2
        chosen = np.array(upper if first or len(lower) <= 2 else lower)
        width, height = chosen.max(0) - chosen.min(0)
        aspect = self.size[1] / self.size[0]
        if width > aspect * height:
            height = width / aspect
        else:
            width = height * aspect
        return chosen.mean(0), 1.5 * np.array([width, height])

    def inverse(self, center: Array, extent: Array, angle: float) -> Array:
        """From input to picture pixels, ``(2, 3)``."""
        scale = extent / (np.array(self.size[::-1]) - 1)
        cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        turn = np.array([[cos, sin], [-sin, cos]])
        linear = turn * scale
        return np.hstack([linear, (center - turn @ (extent / 2))[:, None]])

    def warp(self, picture: Image.Image, back: Array) -> torch.Tensor:
        """The picture at the places of the input's pixels."""
        if WARP != "pillow":
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            pixels = cv2.warpAffine(np.asarray(picture), back, self.size[::-1], flags=flags)
        else:  # Pillow counts from pixels' corners
            linear, shift = back[:, :2], back[:, 2]
            shift = shift + 0.5 - linear @ np.array([0.5, 0.5])
            data = (*linear[0], shift[0], *linear[1], shift[1])
            warped = picture.transform(
                self.size[::-1], Image.Transform.AFFINE, data, Image.Resampling.BILINEAR, fillcolor=0
            )
            pixels = np.asarray(warped)
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255
