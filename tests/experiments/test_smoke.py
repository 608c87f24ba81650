"""Every table runs, from its data to its printed lines, at the smallest size."""

import time

import pytest

from calbook.experiments import TABLES, reports
from calbook.experiments.running import Place, is_done, jobs_of, run_jobs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One folder for all tables, and for all processes of a parallel run: rows that tables share are run once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "smoke"
    return Place(folder / "data", folder / "runs", folder / "rows")


@pytest.mark.parametrize("table", TABLES)
def test_the_table_runs(table, place):
    jobs = jobs_of(table, "smoke", [0])
    while run_jobs(jobs, place):
        time.sleep(0.5)  # another process of the tests is at one of them
    assert all(is_done(job, place.rows) for job in jobs)
    lines = [line for line in reports.lines_of(table, "smoke", place.rows) if line.run]
    assert all(line.records for line in lines)
    assert any(line.ours("AP") or line.ours("AP50") or line.ours("AR") for line in lines)
    assert reports.text_table(table, "smoke", place.rows).count("\n") == len(TABLES[table].rows) + 1
