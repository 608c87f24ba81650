"""A run that begins from weights that were trained before."""

import json
from pathlib import Path

import pytest
import torch
from micro_training import LargeLoader, run
from safetensors.torch import save_file
from torch import Tensor

from calbook.data.defects import DataError
from calbook.method import build_method
from calbook.training import TrainingConfig
from calbook.training.network import build_network


def _tiny(folder: Path, joints: int = 3, **options: object) -> dict[str, Tensor]:
    torch.manual_seed(5)
    network = build_method("cal-tiny", (64, 48)).build_model(joints)
    return {name: value + 0.01 for name, value in network.state_dict().items() if value.is_floating_point()}


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_warm_start_begins_from_a_file_of_tensors(tmp_path: Path, suffix: str) -> None:
    weights = _tiny(tmp_path)
    file = tmp_path / f"weights.{suffix}"
    save_file(weights, file) if suffix == "safetensors" else torch.save({"state_dict": weights}, file)
    config = TrainingConfig(warm_start=str(file))
    network, report = build_network(build_method("cal-tiny", (64, 48)), 3, config, warm=True)
    assert report is not None
    assert not report.missing
    assert all(network.state_dict()[name].equal(value) for name, value in weights.items())


def test_a_warm_start_from_other_joints_leaves_the_last_layers_fresh(tmp_path: Path) -> None:
    save_file(_tiny(tmp_path, joints=5), tmp_path / "five.safetensors")
    config = TrainingConfig(warm_start=str(tmp_path / "five.safetensors"))
    _, report = build_network(build_method("cal-tiny", (64, 48)), 3, config, warm=True)
    assert report is not None
    assert {name.split(".")[-2] for name in report.missing} == {"predict"}
    assert {name.split(".")[-2] for name in report.skipped} == {"predict"}


@pytest.mark.parametrize(
    ("content", "problem"), [(None, "there is no such file"), (b"junk", "not a file of tensors"), ({}, "none of 1")]
)
def test_a_warm_start_that_cannot_be_is_one_line(tmp_path: Path, content: object, problem: str) -> None:
    file = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save({"other": torch.zeros(1)}, file)
    with pytest.raises(DataError, match=problem) as caught:
        build_network(build_method("cal-tiny", (64, 48)), 3, TrainingConfig(warm_start=str(file)), warm=True)
    assert "\n" not in str(caught.value)


def test_a_warm_start_is_noted_and_not_repeated_when_resuming(tmp_path: Path) -> None:
    save_file(_tiny(tmp_path), tmp_path / "weights.safetensors")
    config = TrainingConfig(
        epochs=1, mask_epochs=0, milestones=(), batch_size=8, warm_start=str(tmp_path / "weights.safetensors")
    )
    settings = {"method": build_method("cal-tiny", (64, 48)), "loader": LargeLoader(), "validate": None}
    run(tmp_path / "run", config, **settings)
    (tmp_path / "weights.safetensors").unlink()
    run(tmp_path / "run", config, **settings)
    first, second = json.loads((tmp_path / "run" / "environment.json").read_text())["sessions"]
    assert first["warm_start"].startswith("loaded ")
    assert "warm_start" not in second
