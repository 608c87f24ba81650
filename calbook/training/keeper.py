"""What a run must not lose: checkpoints, the best weights, lines and curves. The first process keeps them."""

import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lightning_fabric import Fabric
from torch import Tensor

from calbook import results
from calbook.models import LoadReport
from calbook.runs import RunFolder
from calbook.training.config import TrainingConfig
from calbook.training.curves import draw_curves
from calbook.training.folder import checkpoint, load_numbers, read_json, save_tensors, write_json
from calbook.training.learner import Learner
from calbook.training.record import PLACE, Recorder, read_metrics

REDRAW = 60.0  # seconds between drawings of the curves while training goes on


class Keeper:
    """Keeps a run's files.

    Args:
        run: The folder.
        config: The run's.
        learner: What is kept.
        recorder: Of the same run.
    """

    def __init__(self, run: RunFolder, config: TrainingConfig, learner: Learner, recorder: Recorder) -> None:
        self._run, self._config, self._learner, self._recorder = run, config, learner, recorder
        self._drawn = time.monotonic()

    def after_step(self, terms: Tensor) -> None:
        """Count a step; take a checkpoint where one is due within the epoch."""
        self._recorder.step(self._learner, terms)
        every = self._config.checkpoint_every
        if every and self._learner.step % every == 0 and self._learner.batch < self._recorder.batches:
            self.save()

    def save(self) -> None:
        """Take a checkpoint, and copy its weights to ``weights/last``.

        Raises:
            NonFiniteLossError: A weight is not finite; the last checkpoint stays.
        """
        tensors, numbers = self._learner.state()
        save_tensors(checkpoint(self._run), tensors, numbers | {"metrics_bytes": self._recorder.flush()})
        save_tensors(self._run.weights("last"), self._learner.weights(), self._place())

    def after_validation(self, figures: Mapping[str, float]) -> None:
        """Note how the network scores, and keep its weights if none were better."""
        self._recorder.validation(self._learner, figures)
        by = self._config.best_by or next(iter(figures))
        if by not in figures:
            raise ValueError(f"best_by={by!r} is none of the validation's figures: {', '.join(figures)}")
        if figures[by] > self.best().get("score", -math.inf):  # the file says how good it is: there is no second truth
            place = self._place() | {"score": figures[by], "by": by}
            save_tensors(self._run.weights("best"), self._learner.weights(), place)
        if time.monotonic() - self._drawn > REDRAW:
            draw_curves(self._run, self._config)
            self._drawn = time.monotonic()

    def best(self) -> dict[str, Any]:
        """Step, epoch and score of the best weights; empty before the first validation."""
        file = self._run.weights("best")
        return load_numbers(file) if file.exists() else {}

    def figures(self) -> dict[str, float]:
        """Of the last validation; empty without one."""
        lines = [line for line in read_metrics(self._run) if line["kind"] == "validation"]
        return {name: value for name, value in lines[-1].items() if name not in PLACE} if lines else {}

    def finish(self) -> None:
        """After the last epoch."""
        self.save()
        draw_curves(self._run, self._config)

    def _place(self) -> dict[str, Any]:
        step = self._learner.step
        return {"epoch": math.ceil(step / self._recorder.batches), "step": step}  # from 1, as in metrics.jsonl


def note_environment(run: RunFolder, fabric: Fabric, report: LoadReport | None) -> None:
    """Add this start, or continuation, to ``environment.json``: when, on what, with which versions and commit."""
    before = read_json(run.environment)["sessions"] if run.environment.exists() else []
    session = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": results.machine(),
        "versions": results.versions(),
        "commit": results.commit(),
        "devices": {"kind": fabric.device.type, "processes": fabric.world_size},
    }
    if report is not None:
        session["warm_start"] = str(report)
    write_json(run.environment, {"sessions": [*before, session]})
