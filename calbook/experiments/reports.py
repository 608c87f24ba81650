"""Ours beside theirs: tables made from results files and the published figures, never typed."""

import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calbook import results
from calbook.experiments.catalogue import Run, runs_of, table
from calbook.experiments.presets import PresetName
from calbook.experiments.running import ROWS, Job, settings_of
from calbook.experiments.search import SEARCH_TABLE, best_rates
from calbook.experiments.tables import Row
from calbook.experiments.trunk import kept_trunk
from calbook.results import ResultsError

METRICS = ("AP", "AP50", "AP75", "APM", "APL", "AR")
PCKH_METRICS = ("head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "mean")
_PRINTED = {"mean": "PCKh@0.5 Total"} | {part: f"PCKh@0.5 {part.title()}" for part in PCKH_METRICS[:-1]}


@dataclass(frozen=True)
class Line:
    """A row of a table with what is known of it.

    Attributes:
        row: The row.
        run: The network at the preset, None where the figure is only cited.
        records: What its results files hold, one per seed, in the order of the seeds.
        evaluation: Which of their evaluations the row shows.
    """

    row: Row
    run: Run | None
    records: tuple[dict[str, Any], ...]
    evaluation: str

    def ours(self, metric: str) -> list[float]:
        """Our figures in percent, one per seed; none where COCO has no person of the size asked for."""
        return list(self.by_seed(metric).values())

    def by_seed(self, metric: str) -> dict[int, float]:
        """The same by seed."""
        scored = {int(record["settings"]["seed"]): record["figures"]["evaluations"] for record in self.records}
        found = {seed: figures.get(self.evaluation, {}).get(metric) for seed, figures in scored.items()}
        return {seed: 100 * value for seed, value in found.items() if value is not None and value >= 0}

    def theirs(self, metric: str) -> float | None:
        """The paper's figure in percent."""
        printed = self.row.published
        return None if printed is None else printed.figure(_PRINTED.get(metric, metric))


def lines_of(name: str, preset: PresetName, rows: Path = ROWS) -> list[Line]:
    """The rows of a table with all results files that belong to them.

    A file of other settings than the preset's is left out: it is an old one.

    Raises:
        ValueError: Unknown table or preset.
        ResultsError: A file was changed by hand.
    """
    runs = {id(run.row): run for run in runs_of(name, preset)}
    lines = []
    for row in table(name).rows:
        run = runs.get(id(row))
        records = () if run is None else tuple(_records(run, rows))
        lines.append(Line(row, run, records, run.evaluation if run else row.evaluation))
    return lines


def _records(run: Run, rows: Path) -> list[dict[str, Any]]:
    seeds = f"{run.experiment.name}-{run.experiment.preset}"
    found = []
    for file in sorted(rows.glob(f"{seeds}*.json")):
        record = results.read(file)
        job = Job(run.experiment, int(record["settings"]["seed"]), "")
        if job.file(rows) == file and record["settings"] == settings_of(job):
            found.append(record)
    return sorted(found, key=lambda record: int(record["settings"]["seed"]))  # by name seed 10 comes before seed 2


def headers(lines: Sequence[Line], name: str) -> list[str]:
    """Headings of ``cells``."""
    printed, metrics = _metrics(lines, name)
    names = {"mean": "PCKh"}
    rest = [f"{metric}, ours" for metric in metrics[1:]]
    theirs, ours = names.get(printed, printed), names.get(metrics[0], metrics[0])
    return ["row", "paper's network", "ours", f"{theirs}, paper", f"{ours}, ours", "seeds", *rest]


def cells(lines: Sequence[Line], name: str) -> list[list[object]]:
    """The table's cells, a list per row: percent with one decimal, ours as mean ± standard deviation over seeds.

    >>> cells(lines_of("3", "smoke", Path("nowhere")), "3")[0][:5]
    ['binary heatmap (disk)', 'HRNet-W32 128x96', 'cal-tiny-64x48-disk', '73.3', None]
    """
    printed, (first, *rest) = _metrics(lines, name)
    return [
        [
            line.row.label + (" (cited)" if line.row.cited else ""),
            _network(line.row),
            line.run.experiment.name if line.run else None,
            None if (theirs := line.theirs(printed)) is None else f"{theirs:.1f}",
            spread(line.ours(first)),
            len(line.records),
            *(spread(line.ours(metric)) for metric in rest),
        ]
        for line in lines
    ]


def _metrics(lines: Sequence[Line], name: str) -> tuple[str, Sequence[str]]:
    """The paper's main metric, and ours, the main one first: synthetic people are scored by AP in every table."""
    if name != "mr-mpii":
        return "AP", METRICS
    pictures = any(line.run.experiment.data.source == "mpii" for line in lines if line.run)
    return "mean", ("mean", *PCKH_METRICS[:-1]) if pictures else METRICS


def _network(row: Row) -> str | None:
    """Backbone and input size as printed."""
    if row.published is None:
        return None
    return f"{row.published.backbone} {row.published.input_size}".replace(" -", "").replace("- ", "").strip("-") or None


def spread(values: Sequence[float]) -> str | None:
    """Mean and standard deviation over seeds; None of nothing, and no deviation of one.

    >>> spread([60.0, 62.0]), spread([61.24]), spread([])
    ('61.0 ± 1.4', '61.2', None)
    """
    if not values:
        return None
    mean = f"{statistics.fmean(values):.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


def text_table(name: str, preset: PresetName, rows: Path = ROWS) -> str:
    """A table as text for the terminal."""
    lines = lines_of(name, preset, rows)
    body = [["–" if cell is None else str(cell) for cell in row] for row in cells(lines, name)]
    texts = [headers(lines, name), *body]
    widths = [max(len(line[i]) for line in texts) for i in range(len(texts[0]))]
    drawn = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in texts]
    return "\n".join([f"{title_of(name)}: {table(name).title} ({preset})", *drawn])


def title_of(name: str) -> str:
    """What a reader calls a table.

    >>> [title_of(name) for name in ("8", "figure1", "q3", "mr-val")]
    ['Table 8', 'Figure 1', 'Question 3', 'mr-val']
    """
    for start, title in (("figure", "Figure"), ("q", "Question"), ("", "Table")):
        if name.startswith(start) and name.removeprefix(start).isdigit():
            return f"{title} {name.removeprefix(start)}"
    return name


def summary(name: str, preset: PresetName, rows: Path = ROWS) -> dict[str, Any]:
    """Means, deviations and seeds of every row that has results: what the book quotes.

    Returns:
        ``{label: {"network", "evaluation", "seeds", "mean": {metric}, "deviation": {metric}}}``.
    """
    found: dict[str, Any] = {}
    for number, line in enumerate(lines_of(name, preset, rows)):
        if not line.records or line.run is None:
            continue
        metrics = [metric for metric in (*METRICS, *PCKH_METRICS) if line.ours(metric)]
        found[f"{number}: {line.row.label}"] = {
            "network": line.run.experiment.name,
            "evaluation": line.evaluation,
            "seeds": [record["settings"]["seed"] for record in line.records],
            "mean": {metric: statistics.fmean(line.ours(metric)) for metric in metrics},
            "deviation": {
                metric: statistics.stdev(line.ours(metric)) for metric in metrics if len(line.ours(metric)) > 1
            },
        }
    return found


def searched_rates(preset: PresetName = "laptop", rows: Path = ROWS) -> dict[str, float]:
    """The best rate of each family, by the results files of the search; empty before it was made in full."""
    scores: dict[str, dict[float, float]] = {}
    lines = lines_of(SEARCH_TABLE.name, preset, rows)
    for line in lines:
        if line.run is not None and line.records:
            rate = line.run.experiment.training.learning_rate
            scores.setdefault(line.run.experiment.family, {})[rate] = statistics.fmean(line.ours("AP"))
    return best_rates(scores) if all(line.records for line in lines) else {}


def check_rows(rows: Path = ROWS) -> int:
    """Check all results files of rows against what can be computed again.

    The digest of each (``results.read``), its name, its settings as those of the experiment that it
    names, the number of its network's parameters, and that it began from the kept trunk where there is one.

    Returns:
        How many files there are.

    Raises:
        ResultsError: One is not what its experiment writes.
    """
    files = sorted(rows.glob("*.json"))
    known: dict[tuple[str, str], Run] = {}
    for file in files:
        record = results.read(file)
        settings, command = record["settings"], record["command"].split()
        preset, asked = settings["preset"], command[2]
        known |= {(preset, run.experiment.name): run for run in runs_of(asked, preset)}
        run = known.get((preset, settings["name"]))
        if run is None:
            raise ResultsError(f"{file}: settings.name: table {asked} has no {settings['name']} at {preset}; delete it")
        job = Job(run.experiment, int(settings["seed"]), asked)
        _compare(file, job, record, rows)
    return len(files)


def _compare(file: Path, job: Job, record: dict[str, Any], rows: Path) -> None:
    if job.file(rows) != file:
        raise ResultsError(f"{file}: the name does not belong to its settings, {job.name}; run it again")
    expected, settings = settings_of(job), record["settings"]
    for name in expected | settings:
        if name not in settings or expected.get(name) != settings[name]:
            raise ResultsError(f"{file}: settings.{name}: not those of the experiment any more; run it again")
    if job.experiment.is_trained:
        network = job.experiment.method.build_model(17)
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if job.experiment.data.source != "mpii" and record["figures"]["parameters"] != parameters:
            raise ResultsError(f"{file}: figures.parameters: the network has {parameters}; run it again")
    kept, start = kept_trunk(job.experiment), record["figures"].get("start")  # older rows do not say
    if start and kept.exists() and start != hashlib.sha256(kept.read_bytes()).hexdigest():
        raise ResultsError(
            f"{file}: figures.start: not the trunk that is kept, {kept.name}; run it again from that one"
        )
