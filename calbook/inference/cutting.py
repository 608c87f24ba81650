"""Cutting crops out of pictures, smoothed first where the person is larger than the input.

Bilinear sampling takes four pixels. A person 500 pixels high, sampled on 64 rows, is
seen through one row in eight: the published readers alias so, at test as in training.
Here the picture around the crop is first shrunk with a filter that sees every pixel,
to ``DETAIL`` pixels for each one of the input, and then sampled, as the training crops
of this package are.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from calbook import geometry
from calbook.geometry import Convention, CropBox, Size

DETAIL = 1.5  # pixels left for each input pixel, as on the training's canvases (CanvasOptions.density)


@dataclass(frozen=True)
class Cutter:
    """Cuts the crops of one picture.

    Attributes:
        input_size: Height and width of the crops.
        convention: Pixel convention of the input grid, the codec's.
        antialias: Smooth before sampling; False is the published reader.
        shrink: Simulate a smaller picture. A factor shrinks the whole picture, a size
            (height, width) each crop, before the crop is brought to ``input_size``. The
            crops stay registered with the original picture.

    >>> cutter = Cutter((64, 48))
    >>> crops = geometry.box_to_crop(torch.tensor([[10.0, 10.0, 90.0, 120.0]]), (64, 48))
    >>> cutter(torch.randint(256, (3, 200, 150), dtype=torch.uint8), crops).shape
    torch.Size([1, 3, 64, 48])
    """

    input_size: Size
    convention: Convention = "unbiased"
    antialias: bool = True
    shrink: Size | float | None = None

    def __call__(self, picture: Tensor, crops: CropBox) -> Tensor:
        """Crops ``(N, 3, H, W)``, float32 in [0, 1], zero outside the picture.

        Args:
            picture: ``(3, H, W)``, uint8, or floating point in [0, 1].
            crops: Centres and extents ``(N, 2)`` in pixels of the picture.
        """
        crops = CropBox(crops.center.double(), crops.extent.double())  # float32 cannot count 20,000 pixels finely
        if isinstance(self.shrink, tuple):
            small = Cutter(self.shrink, self.convention, self.antialias)(picture, crops)
            return self._enlarge(small)
        matrices = geometry.crop_matrix(crops, self.input_size, convention=self.convention)  # (N, 2, 3)
        if self.shrink is not None:
            height, width = picture.shape[-2:]
            picture = resize(picture, (max(1, round(height / self.shrink)), max(1, round(width / self.shrink))))
            matrices = compose(matrices, _to_original((0, 0), (height, width), picture))
        if not len(matrices):
            return torch.zeros(0, 3, *self.input_size)
        return torch.cat([self._cut(picture, matrix) for matrix in matrices])

    def _cut(self, picture: Tensor, matrix: Tensor) -> Tensor:
        """One crop ``(1, 3, H, W)`` by its matrix ``(2, 3)`` from picture to input pixels."""
        inverse = geometry.invert(matrix)
        scale = inverse[:, :2].diagonal().abs()  # picture pixels for each input pixel, as (x, y)
        top, left, bottom, right = self._region(picture, inverse)
        region = picture[:, top:bottom, left:right]
        factor = (scale / DETAIL).clamp(min=1).tolist()
        size = (max(1, round((bottom - top) / factor[1])), max(1, round((right - left) / factor[0])))
        if self.antialias and size != tuple(region.shape[-2:]):
            region = resize(region, size)
        matrix = compose(matrix, _to_original((top, left), (bottom - top, right - left), region))
        values = region.float() / 255 if region.dtype == torch.uint8 else region.float()
        return geometry.sample_crops(values, matrix[None], self.input_size)

    def _region(self, picture: Tensor, inverse: Tensor) -> tuple[int, int, int, int]:
        """Top, left, bottom, right of the pixels that the crop looks at; at least one pixel of the picture."""
        height, width = self.input_size
        corners = inverse.new_tensor([[0.0, 0.0], [width - 1.0, height - 1.0]])
        first, last = geometry.transform(corners, inverse)
        margin = 2 + (last - first) / corners[1].clamp(min=1) * 2  # what the filter sees beyond the crop
        limit = first.new_tensor([picture.shape[-1], picture.shape[-2]])
        low = torch.minimum((first - margin).floor().clamp(min=0), limit - 1)
        high = torch.maximum(torch.minimum((last + margin).ceil() + 1, limit), low + 1)
        (left, top), (right, bottom) = low.long().tolist(), high.long().tolist()
        return top, left, bottom, right

    def _enlarge(self, small: Tensor) -> Tensor:
        """Crops of the ``shrink`` size at the size of the input, on the grid of the convention."""
        aligned = self.convention == "unbiased"
        if aligned:
            return F.interpolate(small, self.input_size, mode="bilinear", align_corners=True)
        size = small.new_tensor([[small.shape[-1], small.shape[-2]]], dtype=torch.float64)
        crop = CropBox(size / 2, size)
        matrix = geometry.crop_matrix(crop, self.input_size, convention="biased")
        return torch.cat([geometry.sample_crops(picture, matrix, self.input_size) for picture in small])


def resize(picture: Tensor, size: Size) -> Tensor:
    """A picture ``(3, H, W)`` at another size, by a triangle filter as wide as the output's pixels."""
    resized: Tensor = F.interpolate(picture[None], size, mode="bilinear", antialias=True, align_corners=False)[0]
    return resized


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine maps ``(..., 2, 3)`` that apply ``inner`` first."""
    linear = outer[..., :2] @ inner[..., :2]
    return torch.cat([linear, outer[..., :2] @ inner[..., 2:] + outer[..., 2:]], dim=-1)


def _to_original(corner: tuple[int, int], size: Size, resized: Tensor) -> Tensor:
    """From pixels of a resized region to those of the picture; resizing keeps corners, not corner centres."""
    y, x = (length / new for length, new in zip(size, resized.shape[-2:], strict=True))
    return torch.tensor([[x, 0.0, corner[1] + x / 2 - 0.5], [0.0, y, corner[0] + y / 2 - 0.5]], dtype=torch.float64)
