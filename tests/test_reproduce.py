"""Recorded measurements can be run again: their commands are whole, and differences are seen."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from calbook import results

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(results.RESULTS.glob("*.json"))


@pytest.fixture(scope="module")
def reproduce() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce", ROOT / "experiments" / "reproduce.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_recorded_command_can_be_typed(path: Path) -> None:
    command = results.read(path)["command"]
    assert "path/to" not in command
    assert (ROOT / command.split()[1]).is_file()
    if command.startswith("papermill book/"):
        assert f"-p results experiments/results/{path.name}" in command
    else:  # long measurements have scripts, which know where their results go
        assert command.startswith("python experiments/")


def test_figures_are_compared_one_by_one(reproduce: ModuleType) -> None:
    flat = reproduce.leaves({"a": {"b": [1, 2.5]}, "c": "x"})
    assert flat == {"a / b / 0": 1, "a / b / 1": 2.5, "c": "x"}
    assert reproduce.difference(2.0, 2.002) == pytest.approx(0.001)
    assert reproduce.difference(0.5, None) == float("inf")
    assert reproduce.difference("x", "y") == float("inf")


def test_a_command_that_fails_is_one_line_and_a_failure(
    reproduce: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "made_up.json"
    command = "python -c pass"
    results.write(path, experiment="made up", settings={}, figures={"a": 1.0}, seconds=0.0, command=command)
    assert not reproduce.run_one("made_up", path, "nowhere")
    assert capsys.readouterr().out.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["reproduce.py", "no_such_file"])
    with pytest.raises(SystemExit) as stop:
        reproduce.main()
    assert stop.value.code == 2
    assert "no results file 'no_such_file'" in capsys.readouterr().err
