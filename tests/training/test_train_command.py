"""``calbook train``: a run at the smallest preset, and one line for what cannot be."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny_coco

from calbook import experiments, runs, training
from calbook.cli import train as command
from calbook.cli.common import Parser
from calbook.data import coco
from calbook.data.defects import DataError
from calbook.experiments import sets
from calbook.experiments.running import IMAGENET
from calbook.runs import RunFolder
from calbook.skeletons import COCO
from calbook.training import Summary, TrainingConfig
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


def test_epochs_without_a_stage_one_are_those_of_stage_two() -> None:
    published = experiments.get("cal-w32-128x96-one-stage").training
    config = command._training(published, parse("cal-w32-128x96-one-stage", "--epochs", "25"))
    assert (config.epochs, config.mask_epochs, config.milestones) == (0, 25, (17, 20))


def test_the_validation_is_on_what_the_folder_holds(tmp_path: Path) -> None:
    tiny_coco.write(tmp_path)
    words, skeleton = ("cal-w32-64x48", "--data", str(tmp_path)), coco.read_split(tmp_path, "val2017").skeleton
    for name in ("cal-w32-64x48", "simple-baseline-r50-128x96"):  # the latter's first evaluation is of a test set
        experiment = experiments.get(name)
        split, validate = command._validation(parse(*words), experiment, tmp_path, skeleton)
        assert split == "val2017"
        assert validate is not None
    annotations = tmp_path / "annotations" / "person_keypoints_val2017.json"
    annotations.rename(annotations.with_name("person_keypoints_mine.json"))
    (tmp_path / "val2017").rename(tmp_path / "mine")
    assert command._validation(parse(*words), experiment, tmp_path, skeleton) == ("val2017", None)
    assert command._validation(parse(*words, "--val-split", "mine"), experiment, tmp_path, skeleton)[0] == "mine"
    with pytest.raises(DataError, match="val2017"):
        command._validation(parse(*words, "--val-split", "val2017"), experiment, tmp_path, skeleton)


def test_a_run_without_validation_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_coco.write(tmp_path)
    (tmp_path / "annotations" / "person_keypoints_val2017.json").rename(
        tmp_path / "annotations" / "mine_keypoints.json"
    )
    monkeypatch.setattr(sets, "build_loader", lambda *_, **__: SimpleNamespace(skeleton=COCO))
    monkeypatch.setattr(training, "fit", lambda *_, **__: Summary(0, {}, {}))
    fabric = SimpleNamespace(is_global_zero=True, device="cpu", global_rank=0, world_size=1)
    options = parse("cal-w32-64x48", "--data", str(tmp_path), "--warm-start", "a.pth")
    experiment, root = command._experiment(options)
    command._fit(options, experiment, root, RunFolder(tmp_path / "run"), fabric)
    said = f"calbook: warning: {tmp_path} has no val2017: this run is not validated; see --val-split\n"
    assert capsys.readouterr().err == said


def test_a_set_that_cannot_be_scored_is_refused_before_the_training(tmp_path: Path) -> None:
    document = tiny_coco.document()
    for entry in document["annotations"]:
        entry.pop("area", None)
    tiny_coco.write(tmp_path, document)
    experiment, options = experiments.get("cal-w32-64x48"), parse("cal-w32-64x48", "--data", str(tmp_path))
    with pytest.raises(DataError, match=r"keypoints: other joints than those learnt from, nose, left_eye"):
        command._validation(options, experiment, tmp_path, COCO)
    with pytest.raises(DataError, match=r"area: unknown, and .* no torso to measure"):
        command._validation(options, experiment, tmp_path, coco.read_split(tmp_path, "val2017").skeleton)


def test_a_batch_that_cannot_be_is_refused_before_a_crop_cache_is_made(tmp_path: Path) -> None:
    tiny_coco.write(tmp_path)
    experiment, root = command._experiment(parse("cal-w32-64x48", "--data", str(tmp_path), "--split", "val2017"))
    with pytest.raises(DataError, match="val2017: 2 people do not fill a batch of 128"):
        sets.build_loader(experiment, root, 0)
    with pytest.raises(DataError, match="val2017: a global batch of 128 cannot be shared equally by 3 processes"):
        sets.build_loader(experiment, root, 0, world_size=3)
    assert not (tmp_path / "crops").exists()


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
        ([*SMOKE, "--accelerator", "mps"], "--accelerator: mps asked for, and there is no Apple GPU"),
        ([*SMOKE, "--val-split", "val2017"], "--val-split: the people to validate on are fixed for synthetic data"),
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
