"""Headless Chromium, and the built pages it opens."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = os.environ.get("CALBOOK_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """Called with what is missing: fails in continuous integration, skips elsewhere."""
    return pytest.fail if os.environ.get("CI") == "true" else pytest.skip


@pytest.fixture(scope="session")
def chromium(missing: Callable[[str], None]) -> Iterator[Any]:
    """One headless browser for all tests of a session."""
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        missing(f"no browser at {CHROMIUM}; set CALBOOK_CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(missing: Callable[[str], None]) -> str:
    """The script of axe-core, the rules that accessibility audits use."""
    try:
        from axe_playwright_python.base import AXE_SCRIPT
    except ImportError:
        missing("axe-core is not installed: run make setup")
    return str(AXE_SCRIPT)
