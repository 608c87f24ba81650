"""The configuration of a run: what cannot be is refused, and the defaults are the published run."""

import math
from pathlib import Path

import pytest
from micro_training import CONFIG, METHOD, MicroLoader, score

from calbook.runs import RunFolder
from calbook.training import TrainingConfig, fit


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": -1}, "epochs must be at least 0"),
        ({"epochs": 0, "mask_epochs": 0}, "nothing to train"),
        ({"components": 0}, "components must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be above 0"),
        ({"clip": -1.0}, "clip must be above 0"),
        ({"average": 1.0}, "decay between 0 and 1"),
        ({"precision": "bf16"}, "unknown precision 'bf16': choose one of 32-true, bf16-mixed"),
        ({"checkpoint_every": 0}, "checkpoint_every must be at least 1"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**change)


def test_the_defaults_are_the_published_run() -> None:
    config = TrainingConfig()
    assert (config.epochs, config.mask_epochs, config.milestones, config.learning_rate) == (210, 40, (170, 200), 1e-3)
    assert (config.batch_size, config.weight_decay, config.clip, config.average) == (128, 0.0, None, None)
    assert not math.isclose(config.rate(169), config.rate(170))


def test_a_batch_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    class Three:
        world_size, is_global_zero = 3, True

    with pytest.raises(ValueError, match="batch_size 8 does not divide among 3 processes"):
        fit(METHOD, MicroLoader(), score, CONFIG, RunFolder(tmp_path / "run"), Three())
