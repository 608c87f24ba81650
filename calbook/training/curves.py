"""Learning curves as pictures, drawn from ``metrics.jsonl``."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from calbook.runs import RunFolder
from calbook.training.config import TrainingConfig
from calbook.training.folder import replace_file
from calbook.training.record import PLACE, TERMS, read_metrics


def draw_curves(run: RunFolder, config: TrainingConfig) -> None:
    """Draw ``curves/loss.png`` and, once there was a validation, ``curves/validation.png``."""
    lines = read_metrics(run)
    training = [line for line in lines if line["kind"] == "train"]
    validation = [line for line in lines if line["kind"] == "validation"]
    second = None
    if any(line["stage"] == 2 for line in training):  # it began where stage one ended, with a line
        second = max((line["step"] for line in training if line["stage"] == 1), default=0)
    if training:
        names = [name for name in TERMS if any(line[name] for line in training)]
        _save(run, "loss", _figure(training, names, "loss (mean of the log interval)", second, logarithmic=True))
    if validation:
        figures = [name for name in validation[0] if name not in PLACE]
        best = config.best_by or figures[0]
        names = [best, *(name for name in figures if name != best)][:6]
        _save(run, "validation", _figure(validation, names, "score on the validation set", second))


def _figure(
    lines: Sequence[dict[str, Any]], names: Sequence[str], label: str, second: int | None, logarithmic: bool = False
) -> Figure:
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    steps = [line["step"] for line in lines]
    for name in names:
        values = [float("nan") if line.get(name) is None else line[name] for line in lines]
        axes.plot(steps, values, label=name, marker="o" if len(steps) < 30 else "", markersize=3)
    if second is not None:
        axes.axvline(second, color="grey", linestyle="--", linewidth=1, label="stage two")
    if logarithmic and all(line[name] is None or line[name] > 0 for line in lines for name in names):
        axes.set_yscale("log")
    axes.set_xlabel("step (mini-batches)")
    axes.set_ylabel(label)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def _save(run: RunFolder, name: str, figure: Figure) -> None:
    content = io.BytesIO()
    figure.savefig(content, format="png")
    replace_file(run.path / "curves" / f"{name}.png", lambda partial: partial.write_bytes(content.getvalue()))
