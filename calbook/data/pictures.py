"""Opening pictures: RGB tensors, or one clear line about the file.

Two ways in. Annotated data are read as stored (``open_picture``, ``read_pixels``): COCO's
annotations, and every published reader, count pixels before any rotation that the
file's EXIF block notes. One's own pictures are read as a viewer shows them
(``open_for_prediction``): upright, on white where they are transparent, of any
depth, and never larger in memory than ``MOST_PIXELS``.
"""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from calbook.data.defects import DataError, Defect
from calbook.geometry import Size

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")  # what counts as a picture in a folder

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MOST_PIXELS = 2**26  # 67 million, 201 MB as RGB: what a picture opened for prediction may hold

_REPLACE = "copy or download it again"
_Result = TypeVar("_Result")


def normalize(images: Tensor) -> Tensor:
    """Pictures ``(B, 3, H, W)`` in [0, 1] with ImageNet's channel means and deviations removed."""
    mean, std = images.new_tensor(IMAGENET_MEAN), images.new_tensor(IMAGENET_STD)
    return (images - mean[:, None, None]) / std[:, None, None]


def open_picture(path: Path | str) -> Tensor:
    """Read a picture file as RGB, decoded to its last pixel.

    A rotation noted in the file's EXIF block is not applied: COCO's annotations
    (and every published reader) count pixels as they are stored.

    Args:
        path: A picture that Pillow can read, of any mode.

    Returns:
        ``(3, H, W)``, float32 in [0, 1].

    Raises:
        DataError: The file is missing, cut short or not a picture.
    """
    return read_pixels(path).float() / 255


def read_pixels(path: Path | str) -> Tensor:
    """What ``open_picture`` reads, as stored: ``(3, H, W)``, uint8, a quarter of the memory."""

    def read(path: Path) -> Tensor:
        with Image.open(path) as picture:
            picture.load()
            return _tensor(to_rgb(picture))

    return guarded(read, Path(path))


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode as RGB; deep values are scaled as ``open_for_prediction`` says, where Pillow would cut them off."""
    return (_eight_bits(picture) if _is_deep(picture) else picture).convert("RGB")


class Opened(NamedTuple):
    """A picture opened for prediction.

    Attributes:
        pixels: ``(3, H, W)``, uint8, upright.
        size: Height and width of the upright picture in the file. The pixels are fewer
            if it holds more than ``MOST_PIXELS``.
    """

    pixels: Tensor
    size: Size


def open_for_prediction(path: Path | str) -> Opened:
    """Read one's own picture as a viewer shows it.

    * Turned upright as its EXIF block says.
    * Greyscale, CMYK and palettes become RGB; transparent places become white.
    * 16-bit values are divided by 257, floating-point ones stretched from the least to
      the largest.
    * A picture of more than ``MOST_PIXELS`` is reduced by a whole factor. A JPEG of any
      size is reduced while it is decoded; other formats must be decoded whole, and are
      refused where Pillow refuses them (179 million pixels).

    Raises:
        DataError: The file is missing, cut short, not a picture, or too large.
    """
    return guarded(_open_upright, Path(path))


def _open_upright(path: Path) -> Opened:
    with _open_any_size(path) as picture:
        size = picture.height, picture.width
        factor = _reduction(size)
        if factor > 1:
            # The decoder leaves out details for a JPEG; other formats ignore this.
            picture.draft("RGB", (picture.width // factor, picture.height // factor))
        picture.load()
        exif, rest = picture.getexif(), _reduction((picture.height, picture.width))
        # Pillow averages neither palettes nor bits nor integers of 16 bits.
        smooth = _opaque(picture) if picture.mode in ("1", "P", "PA") or picture.mode.startswith("I;") else picture
        upright = _upright(_opaque(smooth.reduce(rest) if rest > 1 else smooth), exif)
        turned = exif.get(_ORIENTATION, 1) in (5, 6, 7, 8)
    return Opened(_tensor(upright), (size[1], size[0]) if turned else size)


_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 are turned by a quarter


def _open_any_size(path: Path) -> Image.Image:
    """Open a file; a JPEG also above the size that Pillow takes for an attack, since it is decoded reduced."""
    try:
        return Image.open(path)
    except Image.DecompressionBombError:
        with path.open("rb") as file:
            is_jpeg = file.read(3) == b"\xff\xd8\xff"
        if not is_jpeg:
            raise
        return JpegImagePlugin.JpegImageFile(path)


def _reduction(size: Size) -> int:
    """The smallest power of two by which both sides must shrink to leave ``MOST_PIXELS``."""
    factor = 1
    while -(-size[0] // factor) * -(-size[1] // factor) > MOST_PIXELS:
        factor *= 2
    return factor


def _opaque(picture: Image.Image) -> Image.Image:
    """Any mode as RGB, on white where it is transparent."""
    if picture.has_transparency_data and not _is_deep(picture):
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return to_rgb(picture)


def _upright(picture: Image.Image, exif: Image.Exif) -> Image.Image:
    """Turned as the file's EXIF block says."""
    picture.getexif().update(exif)
    return ImageOps.exif_transpose(picture)


def _is_deep(picture: Image.Image) -> bool:
    """Whether the values are of 16 bits, 32 bits or floating point."""
    return picture.mode == "F" or picture.mode.startswith("I")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """A deep picture, which is greyscale, as 8 bits."""
    values = np.asarray(picture).astype(np.float64)
    if picture.mode == "F":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
        low, high = values.min(), values.max()
        values = (values - low) * (255 / (high - low) if high > low else 1.0)
    else:
        values = values / 257  # 65535 = 255 * 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def _tensor(picture: Image.Image) -> Tensor:
    pixels = np.array(picture)  # (H, W, 3), a copy that torch may own
    return torch.from_numpy(pixels).permute(2, 0, 1)


# Pillow raises all of these on damaged files, depending on the format and the place.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


def guarded(read: Callable[[Path], _Result], path: Path) -> _Result:
    """What ``read`` returns, or one line about the file."""
    try:
        return read(path)
    except FileNotFoundError:
        raise DataError(Defect(str(path), "", "", "the picture is missing", _REPLACE)) from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        problem = f"the picture has more than {limit} million pixels, too many to decode at once"
        raise DataError(Defect(str(path), "", "", problem, "shrink it, or save it as JPEG")) from None
    except _PILLOW_ERRORS as error:
        raise DataError(Defect(str(path), "", "", _reason(error), _REPLACE)) from None


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "this is not a picture that can be read"
    if "truncated" in str(error).lower():
        return "the picture is cut short"
    return f"the picture cannot be decoded ({type(error).__name__}: {error})"
