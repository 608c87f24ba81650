"""The chapters of results, on rows of the smallest preset: what is missing is made, and all of it is shown.

The rows are those of ``tests/experiments/test_smoke.py``, in the same folder, so that none is
trained twice. A chapter gets a copy from which one row was taken away, and has to make it. It
runs as in JupyterLab, where a slider's picture is drawn when it is looked at, and measures fewer
people: `make book` runs it as on the page, with all of them.
"""

import re
import shutil
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from calbook.bookbuild import Book, Chapter
from calbook.bookbuild.execute import ENVIRONMENT, execute
from calbook.bookbuild.notebooks import read_notebook
from calbook.bookbuild.parameters import validated
from calbook.experiments.running import Place, jobs_of, run_jobs
from calbook.results import RESULTS

pytestmark = pytest.mark.slow

# Tables that a chapter shows row by row, and a network of theirs that trains fast: the chapter has to make it.
CHAPTERS = {
    "15_low_resolution_results": ("8 1 q2 q3 q4", "hrnet-tiny-64x48"),
    "16_ablations": ("3 4 5 6 7 q6 q7 q8 q9", "cal-tiny-64x48-l2"),
    "17_super_resolution": ("2", "udp-tiny-64x48"),
    "18_high_resolution_results": ("9 mr-val", "hrnet-tiny-64x48"),
}
BOOK = Book()
SOURCES = {name: path for name in CHAPTERS if (path := BOOK.root / "book" / f"{name}.ipynb").is_file()}


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The folder of ``test_smoke``, for all processes of a parallel run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "smoke"
    return Place(folder / "data", folder / "runs", folder / "rows")


def copy_without(smoke: Place, tables: str, network: str, folder: Path) -> None:
    """A folder as a chapter wants it, with all rows of some tables but that of one network."""
    jobs = [job for table in tables.split() for job in jobs_of(table, "smoke", [0])]
    while run_jobs(jobs, smoke):
        time.sleep(0.5)  # another process of the tests is at one of them
    (folder / "rows").mkdir()
    (folder / "data").symlink_to(smoke.data)
    for job in jobs:
        if job.experiment.name != network:
            shutil.copy(job.file(smoke.rows), folder / "rows")


def shown_rows(notebook: Any) -> Iterator[dict[str, str]]:
    """The rows of all tables of an executed chapter, as heading to cell."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    for page in (output["data"].get("text/html", "") for output in outputs if "data" in output):
        headings = [unescape(text) for text in re.findall(r'<th scope="col"[^>]*>(.*?)</th>', page)]
        for row in re.findall(r'<tr>(<th scope="row".*?)</tr>', page, re.DOTALL):
            cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)
            yield dict(zip(headings, map(unescape, cells), strict=True))


def told(notebook: Any) -> dict[str, str]:
    """What an executed chapter says of each table's rows, by the table's name in ``calbook reproduce``."""
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = [output["data"].get("text/markdown", "") for output in outputs if "data" in output]
    commands = ((re.search(r"`calbook reproduce (\S+) --preset", text), text) for text in texts)
    return {found[1]: text for found, text in commands if found and ", preset `" in text}


def recorded() -> dict[Path, int]:
    """When the results files of the repository were written; rows of larger presets may be in the making."""
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    return {path: path.stat().st_mtime_ns for path in files if path.parent.name != "rows" or "-smoke" in path.name}


@pytest.mark.parametrize("name", SOURCES)
def test_a_chapter_makes_and_shows_what_is_missing(
    name: str, smoke: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables, missing = CHAPTERS[name]
    monkeypatch.setitem(ENVIRONMENT, "CALBOOK_RENDER", "")
    copy_without(smoke, tables, missing, tmp_path)
    before = recorded()
    chapter = Chapter(name, SOURCES[name], tmp_path / "executed.ipynb")
    wanted = {"preset": "smoke", "seeds": 1, "run_missing": True, "folder": str(tmp_path)}
    if '\n    "tables:' in chapter.source.read_text(encoding="utf-8"):
        wanted["tables"] = tables
    if '\n    "people:' in chapter.source.read_text(encoding="utf-8"):
        wanted["people"] = 24
    outcome = execute(BOOK, chapter, validated(chapter, wanted), verbose=True)
    assert outcome.error is None, outcome.error
    assert (tmp_path / "rows" / f"{missing}-smoke-seed0.json").is_file()
    shown = {
        (row["ours"], row["seeds"])
        for row in shown_rows(read_notebook(chapter.executed))
        if {"ours", "seeds"} <= row.keys()
    }
    networks = {job.experiment.name for table in tables.split() for job in jobs_of(table, "smoke", [0])}
    assert {(network, "1") for network in networks} <= shown
    said = told(read_notebook(chapter.executed))
    for table in tables.split():  # all of it has been run, with one seed
        assert "with fewer than 3 seeds" in said[table], table
        assert "not run yet" not in said[table], table
    assert recorded() == before
