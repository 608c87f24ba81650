"""What a run tells about itself: JSON lines, TensorBoard, a progress bar."""

import json
import math
import os
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from calbook.runs import RunFolder
from calbook.training.config import TrainingConfig
from calbook.training.learner import Learner

TERMS = ("loss", "heatmap", "offset")
PLACE = ("kind", "epoch", "step", "stage", "seconds")  # what every line says besides its figures


class Recorder:
    """Writes ``metrics.jsonl`` and TensorBoard's events, and shows progress.

    A line of ``metrics.jsonl`` is either of training, with the means of the loss terms
    since the last such line, or of a validation, with its figures. ``epoch`` counts
    from 1, ``step`` is the number of mini-batches learnt from, ``seconds`` are those of
    the whole training. A run that is continued cuts the file where its checkpoint was,
    so that no line is there twice.

    Args:
        run: The folder.
        config: The run's.
        learner: Where it stands.
        batches: In an epoch.
        length: Bytes of ``metrics.jsonl`` that belong to the checkpoint.
        progress: Whether to show a bar.

    Attributes:
        batches: In an epoch.
    """

    def __init__(
        self, run: RunFolder, config: TrainingConfig, learner: Learner, batches: int, length: int, progress: bool
    ) -> None:
        self._config, self.batches = config, batches
        self._lines = run.metrics.open("ab")
        self._lines.truncate(min(length, self._lines.seek(0, os.SEEK_END)))
        self._lines.seek(0, os.SEEK_END)  # ``flush`` tells this place, which truncating leaves behind the new end
        self._events = SummaryWriter(str(run.path / "tensorboard"), purge_step=learner.step + 1, flush_secs=30)
        size = config.batch_size
        self._bar = tqdm(
            total=config.all_epochs * batches * size,
            initial=learner.step * size,
            unit=" crops",
            unit_scale=True,
            disable=not progress,
            dynamic_ncols=True,
        )
        self._last = time.perf_counter()
        self._before = learner.step

    def begin_epoch(self) -> None:
        """Before each epoch: the time since the last one's end went to a checkpoint and a validation, not to crops."""
        self._last = time.perf_counter()

    def step(self, learner: Learner, terms: Tensor) -> None:
        """After each step: count it, and at the interval, or an epoch's end, write the means."""
        learner.since += torch.cat([terms.double(), torch.ones(1, dtype=torch.float64)])
        self._bar.update(self._config.batch_size)
        if learner.step % self._config.log_every and learner.batch < self.batches:
            return
        means = dict(zip(TERMS, (learner.since[:3] / learner.since[3]).tolist(), strict=True))
        learner.since.zero_()
        now = time.perf_counter()
        speed = (learner.step - self._before) * self._config.batch_size / max(now - self._last, 1e-9)
        self._last, self._before = now, learner.step
        figures: dict[str, Any] = {"rate": self._config.rate(learner.epoch), **means}
        if learner.mixture is not None:
            figures["mixture"] = {name: getattr(learner.mixture, name).tolist() for name in ("weights", "means")}
            spread = learner.mixture.covariances.diagonal(dim1=-2, dim2=-1).mean(-1).sqrt()
            figures["mixture"]["spreads"] = spread.tolist()  # pixels, root of the mean variance
        self._write("train", learner, {**figures, "crops_per_second": round(speed, 1)})
        self._bar.set_postfix_str(f"epoch {learner.epoch + 1}/{self._config.all_epochs}, loss {means['loss']:.4g}")

    def validation(self, learner: Learner, figures: Mapping[str, float]) -> None:
        """After each validation."""
        self._write("validation", learner, {name: float(value) for name, value in figures.items()})

    def flush(self) -> int:
        """Have all lines on the disk; gives their length in bytes."""
        self._lines.flush()
        os.fsync(self._lines.fileno())
        return self._lines.tell()

    def close(self) -> None:
        """Close all files and the bar."""
        self._bar.close()
        self._events.close()
        self._lines.close()

    def _write(self, kind: str, learner: Learner, figures: dict[str, Any]) -> None:
        stage = self._config.stage(learner.epoch)
        place = {"kind": kind, "epoch": learner.epoch + 1, "step": learner.step, "stage": stage}
        plain = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in figures.items()}
        self._lines.write(json.dumps({**place, "seconds": learner.seconds, **plain}, allow_nan=False).encode() + b"\n")
        self._lines.flush()
        for name, value in figures.items():
            if isinstance(value, float):
                self._events.add_scalar(f"{kind}/{name}", value, learner.step)


def read_metrics(run: RunFolder) -> list[dict[str, Any]]:
    """The lines of ``metrics.jsonl``, without one that is only half there."""
    if not run.metrics.exists():
        return []
    *lines, _ = run.metrics.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines]
