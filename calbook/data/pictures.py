"""Opening pictures: RGB float tensors, or one clear line about the file."""

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from calbook.data.defects import DataError, Defect

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")  # what counts as a picture in a folder

_REPLACE = "copy or download it again"


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
    path = Path(path)
    try:
        with Image.open(path) as picture:
            picture.load()
            pixels = np.array(picture.convert("RGB"))  # (H, W, 3), a copy that torch may own
    except FileNotFoundError:
        raise DataError(Defect(str(path), "", "", "the picture is missing", _REPLACE)) from None
    except _PILLOW_ERRORS as error:
        raise DataError(Defect(str(path), "", "", _reason(error), _REPLACE)) from None
    return torch.from_numpy(pixels).permute(2, 0, 1).float() / 255


# Pillow raises all of these on damaged files, depending on the format and the place.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


def _reason(error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "this is not a picture that can be read"
    if "truncated" in str(error).lower():
        return "the picture is cut short"
    return f"the picture cannot be decoded ({type(error).__name__}: {error})"
