"""Fixtures that every test may use."""

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("CALBOOK_SHARED", ROOT.parent / "shared"))

torch.set_num_threads(1)  # two busy cores: more threads wait for each other
# The first backward pass of a process looks for devices, which the export to ONNX pretends there are; a process that
# has found some cannot be forked, as the tests of training do. Hence a first pass before all tests.
torch.ones(1, requires_grad=True).sum().backward()
# The lock that tqdm makes is shared by forked processes: one that a test kills while it holds the lock would stop all
# that come after it.
tqdm.set_lock(threading.RLock())


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules with long tests come first, so that none is begun when the other workers are done."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A module belongs to one worker, and of the pages each to one: what their tests share is made once."""
    from xdist.scheduler import LoadScopeScheduling

    class ByModule(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module, _, name = nodeid.partition("::")
            page = re.search(r"[\w/]+\.html", name)
            return f"{module} {page[0]}" if page else module

    if config.getoption("dist") != "load":  # somebody knows better
        return None
    config.option.loadscopereorder = False
    return ByModule(config, log)


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
