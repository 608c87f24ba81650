"""Running ``calbook`` as if typed, for the tests of its commands."""

import importlib
from pathlib import Path

import numpy as np
from PIL import Image


def one_line(error: str) -> bool:
    return error.startswith("calbook: ") and error.count("\n") == 1


def photograph(path: Path, size: tuple[int, int] = (90, 120)) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def without(monkeypatch, library: str) -> None:
    """As if the library were not installed."""
    real = importlib.import_module

    def missing(name: str, *rest: object) -> object:
        if name == library:
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", missing)
