"""``calbook train``: a run at the smallest preset, and one line for what cannot be."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_coco

from calbook import experiments, runs
from calbook.cli import train as command
from calbook.cli.common import Parser
from calbook.data.defects import DataError
from calbook.experiments.running import IMAGENET
from calbook.runs import RunFolder
from calbook.training import TrainingConfig
from calbook.training.record import read_metrics

SMOKE = ("cal-w32-64x48", "--preset", "smoke", "--accelerator", "cpu")


def parse(*words: str) -> argparse.Namespace:
    parser = Parser(prog="calbook")
    command.add(parser.add_subparsers())
    return parser.parse_args(["train", *words])


def call(*words: str) -> int:
    options = parse(*words)
    return int(options.run(options))


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of ``calbook train cal-w32-64x48 --preset smoke`` in it."""
    folder = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call(*SMOKE, "--log-every", "1") == 0
    return folder


def test_a_run_of_the_smallest_preset(smoke: Path) -> None:
    path = smoke / "runs" / "smoke" / "cal-w32-64x48"
    config = json.loads((path / "config.json").read_text())
    assert config["data"]["source"] == "synthetic"
    assert config["data"]["preset"] == "smoke"
    assert {line["stage"] for line in read_metrics(RunFolder(path))} == {1, 2}
    trained = runs.load(path)
    assert trained.method.model == "cal-hrnet-tiny"


def test_the_run_is_continued_only_when_asked_to(
    smoke: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(smoke)
    with pytest.raises(DataError, match="add --resume"):
        call(*SMOKE)
    assert call(*SMOKE, "--log-every", "1", "--resume") == 0
    assert "runs/smoke/cal-w32-64x48: 4 steps, 2 epochs" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"training.batch_size: the run was begun with 2, this command says 1"):
        call(*SMOKE, "--resume", "--batch-size", "1")


def test_options_take_the_place_of_the_preset() -> None:
    words = ["cal-w32-128x96", "--epochs", "21", "--batch-size", "64", "--precision", "bf16-mixed", "--compile"]
    words += ["--learning-rate", "2e-3", "--clip", "1", "--average", "0.99", "--seed", "3", "--warm-start", "a.pth"]
    config = command._training(TrainingConfig(), parse(*words))
    assert (config.epochs, config.mask_epochs, config.milestones) == (21, 4, (17, 20))
    assert (config.batch_size, config.precision, config.compile) == (64, "bf16-mixed", True)
    assert (config.learning_rate, config.clip, config.average) == (2e-3, 1.0, 0.99)
    assert (config.seed, config.warm_start, config.channels_last) == (3, "a.pth", False)
    assert command._training(TrainingConfig(), parse("cal-w32-128x96")) == TrainingConfig()


def test_the_validation_is_on_what_the_folder_holds(tmp_path: Path) -> None:
    tiny_coco.write(tmp_path)
    experiment, words = experiments.get("cal-w32-64x48"), ("cal-w32-64x48", "--data", str(tmp_path))
    split, validate = command._validation(parse(*words), experiment, tmp_path)
    assert split == "val2017"
    assert validate is not None
    annotations = tmp_path / "annotations" / "person_keypoints_val2017.json"
    annotations.rename(annotations.with_name("person_keypoints_mine.json"))
    (tmp_path / "val2017").rename(tmp_path / "mine")
    assert command._validation(parse(*words), experiment, tmp_path) == (None, None)
    assert command._validation(parse(*words, "--val-split", "mine"), experiment, tmp_path)[0] == "mine"
    with pytest.raises(DataError, match="val2017"):
        command._validation(parse(*words, "--val-split", "val2017"), experiment, tmp_path)


def test_weights_of_imagenet_are_begun_from_where_they_are_at_hand(tmp_path: Path) -> None:
    experiment, options = experiments.get("cal-w32-64x48"), parse("cal-w32-64x48", "--data", str(tmp_path))
    assert command._start(options, experiment, tmp_path, False) is None
    file = tmp_path / "pretrained" / IMAGENET["w32"]
    file.parent.mkdir()
    file.touch()
    assert command._start(options, experiment, tmp_path, False) == str(file)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cal-w32"], "unknown experiment 'cal-w32'"),
        (["cal-w32-128x96"], "--data: learns from coco, and there is no --data; give its folder, or choose a preset"),
        ([*SMOKE, "--average", "2"], "average is a decay between 0 and 1"),
        ([*SMOKE, "--precision", "16-mixed"], "--precision: 16-mixed needs a GPU"),
        (["cal-w32-128x96", "--data", "nowhere", "--accelerator", "cpu"], "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        call(*words)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_processes_started_by_the_command(smoke: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    words = [sys.executable, "-m", "calbook.cli", "train", *SMOKE, "--devices", "2", "--run", "runs/two"]
    finished = subprocess.run(words, cwd=smoke, env=environment, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    [session] = json.loads((smoke / "runs" / "two" / "environment.json").read_text())["sessions"]
    assert session["devices"]["processes"] == 2
