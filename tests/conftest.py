"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("CALBOOK_SHARED", ROOT.parent / "shared"))

torch.set_num_threads(1)  # two busy cores: more threads wait for each other


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        message = f"{name} not found; set CALBOOK_SHARED to the folder that holds it"
        # A hosted CI has no such data and says so: CALBOOK_SHARED=none.
        if os.environ.get("CI") == "true" and os.environ.get("CALBOOK_SHARED") != "none":
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real pictures and annotations, for testing only."""
    return _folder("data")


@pytest.fixture(scope="session")
def golden() -> Path:
    """Arrays computed by the published implementations."""
    return _folder("golden")
