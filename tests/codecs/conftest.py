import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def loops():
    """The per-joint loops that the benchmarks time."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "reference_loops.py"
    spec = importlib.util.spec_from_file_location("reference_loops", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
