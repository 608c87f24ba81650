"""A small synthetic data set and a run folder, made once."""

from pathlib import Path

import pytest
from trained_runs import write_run

from calbook.cli import main
from calbook.data import coco
from calbook.data.synthetic import write_coco


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of synthetic people in COCO's layout."""
    folder = tmp_path_factory.mktemp("synthetic")
    write_coco(folder, "val2017", 12, (128, 96), seed=3)
    return folder


@pytest.fixture(scope="session")
def people(data_folder: Path) -> coco.CocoPeople:
    return coco.read_split(data_folder, "val2017")


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("runs") / "cal-tiny")


@pytest.fixture
def calbook(capsys):
    """Runs a command: exit status, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as left:
            status = int(str(left.code))
        output = capsys.readouterr()
        return status, output.out, output.err

    return run
