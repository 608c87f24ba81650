"""Faults of the machine leave whole files and one line."""

from pathlib import Path
from typing import Any

import pytest
from fuzz.machine import QUICK, SLOW


@pytest.mark.parametrize("cause", QUICK, ids=lambda cause: cause.__name__)
def test_files_stay_whole(cause: Any, tmp_path: Path) -> None:
    assert cause(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("cause", SLOW, ids=lambda cause: cause.__name__)
def test_commands_leave_nothing_half_written(cause: Any, tmp_path: Path) -> None:
    assert cause(tmp_path)
