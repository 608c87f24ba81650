"""``calbook reproduce``: run what is missing of a published table, and print ours beside theirs."""

import argparse
import sys
from pathlib import Path
from typing import Any

from calbook.cli.common import add_command, say, whole
from calbook.data.defects import DataError, Defect


def add(commands: Any) -> None:
    """Add the command to the parser."""
    reproduce = add_command(
        commands,
        "reproduce",
        _reproduce,
        "run every row of a published table that is missing, and print ours beside theirs",
        "calbook reproduce 8 --preset laptop --seeds 3 --rows cal-w32-64x48 dark-w32-64x48\n  calbook reproduce --list",
    )
    reproduce.add_argument(
        "table",
        metavar="TABLE",
        nargs="?",
        help="1 to 9, figure1, figure5, mr-val, mr-testdev, mr-mpii, q1 to q9, rates",
    )
    reproduce.add_argument("--list", action="store_true", help="list tables and rows, and run nothing")
    reproduce.add_argument(
        "--preset",
        choices=("smoke", "laptop", "gpu", "paper"),
        default="laptop",
        help="size and budget (default: laptop; paper needs COCO or MPII)",
    )
    reproduce.add_argument("--rows", nargs="+", default=[], metavar="NAME", help="only these networks")
    seeds = reproduce.add_mutually_exclusive_group()
    seeds.add_argument("--seeds", type=whole(1), default=1, metavar="N", help="run seeds 0 to N - 1 (default: 1)")
    seeds.add_argument("--seed", type=whole(0), metavar="K", help="run this seed alone")
    reproduce.add_argument(
        "--data",
        type=Path,
        default=Path("data"),
        metavar="DIR",
        help="data folder (default: data); synthetic people are made in it",
    )
    reproduce.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="run folders (default: runs)")
    reproduce.add_argument(
        "--results", type=Path, metavar="DIR", help="results files (default: experiments/results/rows)"
    )
    reproduce.add_argument("--devices", type=whole(1), metavar="N", help="processes on this machine, one per GPU")
    reproduce.add_argument("--nodes", type=whole(1), metavar="N", help="machines")
    reproduce.add_argument("--show", action="store_true", help="print what there is, and run nothing")


def _reproduce(options: argparse.Namespace) -> int:
    if options.list or options.table is None:
        return _list(options)
    from calbook.experiments.reports import text_table
    from calbook.experiments.running import ROWS, Place, jobs_of, run_jobs
    from calbook.training import NonFiniteLossError
    from calbook.training.launch import is_first

    def report(line: str) -> None:
        if is_first():
            print(line, file=sys.stderr, flush=True)

    rows = options.results or ROWS
    seeds = range(options.seeds) if options.seed is None else [options.seed]
    try:
        jobs = jobs_of(options.table, options.preset, seeds, options.rows)
    except ValueError as error:
        raise _refused(options.table, error) from None
    busy = []
    if not options.show:
        place = Place(options.data, options.runs, rows, sys.stderr.isatty(), options.devices, options.nodes)
        try:
            busy = run_jobs(jobs, place, report)
        except NonFiniteLossError as error:
            return say(f"error: {error}", 1)
    if not is_first():
        return 0  # the first process prints for all
    print(text_table(options.table, options.preset, rows))
    if busy:
        print(f"\nleft to other processes: {', '.join(job.name for job in busy)}")
    return 0


def _list(options: argparse.Namespace) -> int:
    from calbook.experiments import TABLES, runs_of
    from calbook.experiments.catalogue import table

    try:
        names = TABLES if options.table is None else [table(options.table).name]
    except ValueError as error:
        raise _refused(options.table, error) from None
    for name in names:
        print(f"{name:12}{TABLES[name].title}")
        for network in dict.fromkeys(run.experiment.name for run in runs_of(name, options.preset)):
            print(f"{'':12}  {network}")
    return 0


def _refused(table: str, error: ValueError) -> DataError:
    return DataError(Defect("calbook reproduce", table, "", str(error), "see calbook reproduce --list"))
