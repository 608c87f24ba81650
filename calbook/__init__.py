"""calbook: low-resolution human pose estimation, as a book that runs.

The package behind the book: networks, codecs between joints and maps, losses,
Gaussian-mixture masks, synthetic people, COCO reading and evaluation.

Conventions that hold everywhere:

* Sizes are (height, width), as in the papers' "128x96"; points are (x, y).
* Pixel (i, j) has its *centre* at x = j, y = i. A picture of width W spans
  x = 0 ... W - 1 between the centres of its first and last pixels.
* Joints are ``(..., K, 2)`` tensors, visibilities ``(..., K)`` in COCO's code:
  0 not labelled, 1 labelled but hidden, 2 visible.
"""

import importlib
import importlib.util
from types import ModuleType

__version__ = "0.1.0"


def __getattr__(name: str) -> ModuleType:
    """Import a submodule when it is first used: ``calbook.models`` after ``import calbook``."""
    if name.startswith("_") or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
