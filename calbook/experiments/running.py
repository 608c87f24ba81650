"""Running what is missing of a table: train, score, write one results file per network and seed.

Everything can be cut off at any moment. A results file is written whole, at the end; a
training continues from its last checkpoint; what has a results file is not run
again, and a row that two tables show is run once.
"""

import errno
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from calbook import results, runs
from calbook.data.defects import DataError, Defect
from calbook.experiments.catalogue import Run, runs_of
from calbook.experiments.experiment import Experiment
from calbook.experiments.presets import PresetName
from calbook.experiments.scoring import check_data, score, score_perfect, validation
from calbook.experiments.sets import build_loader, data_folder, prepare
from calbook.experiments.trunk import trunk_weights
from calbook.experiments.upscaling import resolver_weights
from calbook.options import nearest
from calbook.runs import RunFolder
from calbook.training import build_fabric, fit
from calbook.training.folder import checkpoint, load_numbers
from calbook.training.launch import processes
from calbook.training.record import read_metrics

ROWS = results.RESULTS / "rows"  # a file per network and seed

# What the published runs begin from, by backbone; put there by whoever has them.
IMAGENET = {
    "w32": "hrnet_w32-36af842e.pth",
    "w48": "hrnet_w48-8ef0771d.pth",
    "r50": "resnet50-19c8e357.pth",
    "r101": "resnet101-5d3b4d8f.pth",
    "r152": "resnet152-b121ed2d.pth",
}


@dataclass(frozen=True)
class Place:
    """Where a table is run.

    Attributes:
        data: The data folder.
        runs: Folder for run folders.
        rows: Folder for results files.
        progress: Whether to show bars.
        devices: Processes on this machine; None for what the launcher says, else one.
        nodes: Machines; None likewise.
    """

    data: Path = Path("data")
    runs: Path = Path("runs")
    rows: Path = ROWS
    progress: bool = False
    devices: int | None = None
    nodes: int | None = None


@dataclass(frozen=True)
class Job:
    """One network and one seed.

    Attributes:
        experiment: At a preset.
        seed: Of weights, order and augmentation; 0 where nothing is trained.
        table: The table that asks for it, for the command.
    """

    experiment: Experiment
    seed: int
    table: str

    @property
    def name(self) -> str:
        """Name of its results file, without ``.json``.

        >>> from calbook.experiments import get
        >>> Job(get("cal-w32-64x48").at("laptop"), 2, "8").name
        'cal-tiny-64x48-laptop-seed2'
        """
        seed = f"-seed{self.seed}" if self.experiment.is_trained else ""
        return f"{self.experiment.name}-{self.experiment.preset}{seed}"

    @property
    def command(self) -> str:
        """What makes it again, as a user would type it."""
        seed = f" --seed {self.seed}" if self.experiment.is_trained else ""
        return f"calbook reproduce {self.table} --preset {self.experiment.preset} --rows {self.experiment.name}{seed}"

    def file(self, rows: Path) -> Path:
        """Its results file."""
        return rows / f"{self.name}.json"

    def folder(self, place: Path) -> Path:
        """Its run folder."""
        return place / self.experiment.preset / self.name


def settings_of(job: Job) -> dict[str, Any]:
    """All that decides a job's figures, as its results file says it."""
    recipe = json.loads(json.dumps(job.experiment.recipe()))  # tuples as lists, as the file will have them
    if not job.experiment.is_trained:
        del recipe["training"]
    return {"name": job.experiment.name, "seed": job.seed, **recipe}


def is_done(job: Job, rows: Path) -> bool:
    """Whether there is a results file of exactly these settings.

    Raises:
        ResultsError: There is a damaged one.
    """
    file = job.file(rows)
    return file.exists() and results.read(file)["settings"] == settings_of(job)


def jobs_of(table: str, preset: PresetName, seeds: Sequence[int], only: Sequence[str] = ()) -> list[Job]:
    """What a table needs, without repetition, seed by seed: every row has its first before any has its second.

    Args:
        table: Name of the table.
        preset: Of all its rows.
        seeds: Which seeds.
        only: Names of networks, as published or at the preset; none for all.

    Raises:
        ValueError: Unknown table, preset or row.
    """
    found = runs_of(table, preset)
    known = {name: run for run in found for name in (run.experiment.name, _published_name(run))}
    for name in only:
        if name not in known:
            raise ValueError(f"table {table} has no row {name!r}{nearest(name, known)}: it has {', '.join(known)}")
    wanted = {known[name].experiment.name for name in only} or {run.experiment.name for run in found}
    experiments = {run.experiment.name: run.experiment for run in found if run.experiment.name in wanted}
    return [
        Job(experiment, seed if experiment.is_trained else 0, table)  # whatever the seeds, its file is the same
        for seed in seeds
        for experiment in experiments.values()
        if experiment.is_trained or seed == seeds[0]
    ]


def _published_name(run: Run) -> str:
    return run.row.experiment.name if run.row.experiment is not None else ""


def run_jobs(jobs: Sequence[Job], place: Place, report: Callable[[str], None] = lambda line: None) -> list[Job]:
    """Run what is not done yet.

    Args:
        jobs: What to run.
        place: Where.
        report: Told a line after each.

    Returns:
        The jobs that another process is running; they are left to it.

    Raises:
        DataError: Data are missing or damaged.
        NonFiniteLossError: A training came to nothing.
    """
    missing = [job for job in jobs if not is_done(job, place.rows)]
    if len(missing) < len(jobs):
        report(f"{len(jobs) - len(missing)} of {len(jobs)} are done")
    begin, busy = time.perf_counter(), []
    for number, job in enumerate(missing, 1):
        with nullcontext(True) if _is_group(place) else _claimed(job.folder(place.runs)) as mine:
            if not mine:
                busy.append(job)
                report(f"[{number}/{len(missing)}] {job.name}: another process is at it")
                continue
            if not _is_group(place) and is_done(job, place.rows):
                continue
            file = run_job(job, place)
        if file is None:
            continue  # the first process of the group goes on with the scores
        figures = results.read(file)["figures"]["evaluations"]
        spent = time.perf_counter() - begin
        left = spent / number * (len(missing) - number)
        times = f"{_clock(spent)} so far, about {_clock(left)} left"
        report(f"[{number}/{len(missing)}] {job.name}: {_headline(figures)}; {times}")
    return busy


def run_job(job: Job, place: Place) -> Path | None:
    """Train a network with one seed, or go on with it; score it; write its results file.

    Returns:
        The results file; None on all but the first process of a group.
    """
    experiment, begin = job.experiment, time.perf_counter()
    prepare(experiment, place.data, place.progress)
    if not experiment.is_trained:
        figures: dict[str, Any] = score_perfect(experiment, place.data)
        seconds = time.perf_counter() - begin
    else:
        check_data(experiment, place.data)
        run = RunFolder(job.folder(place.runs))
        earlier = _spent(run)
        fabric = train(job, place, run)
        if not fabric.is_global_zero:
            return None
        trained = runs.load(run.path, "best" if experiment.preset == "paper" else "last")
        trained.model.to(fabric.device)
        resolver = None
        if any(evaluation.upscaling == "spsr" for evaluation in experiment.evaluations):
            resolver = resolver_weights(experiment, place.data, place.runs, place.progress)
        lines = read_metrics(run)
        figures = score(trained.model, experiment, place.data, run.path, resolver, place.progress)
        figures |= {
            "parameters": sum(parameter.numel() for parameter in trained.model.parameters()),
            "weights": trained.weights_hash,
            "start": _digest(_start(experiment, place)),
            "curve": [_validation(line) for line in lines if line["kind"] == "validation"],
            "losses": [_training(line) for line in lines if line["kind"] == "train"],
            "training_seconds": lines[-1]["seconds"] if lines else 0.0,
        }
        seconds = earlier + time.perf_counter() - begin
    settings = settings_of(job)
    results.write(
        job.file(place.rows),
        experiment="table row",
        settings=settings,
        figures=figures,
        seconds=seconds,
        command=job.command,
    )
    return job.file(place.rows)


def train(job: Job, place: Place, run: RunFolder) -> Fabric:
    """Train a network, or go on with it. Ends at once where it is trained already.

    Returns:
        Where it was trained.
    """
    experiment = job.experiment
    config = replace(experiment.training, seed=job.seed, warm_start=_start(experiment, place))
    fabric = build_fabric(place.devices, place.nodes, config.precision)
    fabric.launch()
    loader = build_loader(
        experiment,
        place.data,
        job.seed,
        device=str(fabric.device),
        rank=fabric.global_rank,
        world_size=fabric.world_size,
        progress=place.progress and fabric.is_global_zero,
    )
    fit(
        experiment.method,
        loader,
        validation(experiment, place.data),
        config,
        run,
        fabric,
        data=asdict(experiment.data) | {"folder": data_folder(experiment, Path()).as_posix()},
        resume=True,
        progress=place.progress and fabric.is_global_zero,
    )
    return fabric


def _is_group(place: Place) -> bool:
    """Whether this is one of several processes that train together; all must run the same jobs in the same order."""
    devices, nodes = processes(os.environ)
    return (place.devices or devices or 1) * (place.nodes or nodes or 1) > 1


def _start(experiment: Experiment, place: Place) -> str | None:
    """File of the weights to begin from."""
    if experiment.start == "fresh":
        return None
    if experiment.start == "neutral":
        return str(trunk_weights(experiment, place.data, place.runs, place.progress))
    file = place.data / "pretrained" / IMAGENET[experiment.backbone]
    if not file.exists():
        remedy = "put the ImageNet weights there that the published runs begin from"
        raise DataError(Defect(str(file), "", "", "missing", remedy))
    return str(file)


def _digest(file: str | None) -> str:
    """SHA-256 of the weights that a training begins from: rows of one table have the same, or cannot be compared."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


@contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether this process may run a job; a process that dies lets go."""
    import fcntl  # not on Windows

    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            yield False
            return
        yield True


def _validation(line: dict[str, Any]) -> dict[str, Any]:
    """A point of the learning curve."""
    kept = {name: line[name] for name in ("epoch", "step", "stage", "seconds")}
    return kept | {name: value for name, value in line.items() if name in ("AP", "AP50", "AP75", "AR", "PCKh")}


def _training(line: dict[str, Any]) -> dict[str, Any]:
    """A point of the loss curve; where there is a mixture, its spreads."""
    kept = {name: line[name] for name in ("step", "stage", "loss") if line.get(name) is not None}
    mixture = {"spreads": line["mixture"]["spreads"]} if "mixture" in line else {}
    return kept | mixture


def _spent(run: RunFolder) -> float:
    """Wall time of the training behind a run's last checkpoint, which its own clock goes on from; 0 without one."""
    return float(load_numbers(checkpoint(run))["seconds"]) if checkpoint(run).exists() else 0.0


def _headline(figures: dict[str, Any]) -> str:
    if not figures:
        return "nothing that can be scored here"
    name, first = next(iter(figures.items()))
    metric = next((metric for metric in ("AP", "mean") if metric in first), None)
    return f"{metric} {100 * first[metric]:.1f} ({name})" if metric else name


def _clock(seconds: float) -> str:
    """Hours and minutes, or minutes and seconds.

    >>> _clock(75), _clock(7500)
    ('1 min 15 s', '2 h 05 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
