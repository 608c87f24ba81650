"""Experiments of the tests do not draw their learning curves, which takes a quarter of their time."""

from collections.abc import Iterator

import pytest

from calbook.training import keeper


@pytest.fixture(scope="module", autouse=True)
def without_curves() -> Iterator[None]:
    """``tests/training`` draws them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper, "draw_curves", lambda *_: None)
        yield
