"""Runs of training in tests do not draw their curves, which takes longer than the run, unless asked to."""

import pytest

from calbook import results
from calbook.training import curves, keeper


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "draw_curves", lambda *_: None)
    monkeypatch.setattr(results, "commit", lambda: None)


@pytest.fixture
def drawing(quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "draw_curves", curves.draw_curves)
