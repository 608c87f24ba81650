"""``calbook bench``: list the benchmarks with the ratios last recorded, or run some of them."""

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from calbook.cli.common import add_command, say, whole
from calbook.data.defects import DataError, Defect
from calbook.options import nearest
from calbook.results import REPOSITORY, machine_name, read

SCRIPTS = REPOSITORY / "benchmarks"
RESULTS = SCRIPTS / "results"
# How results files name a ratio and its spread, and what it says. The first that a row has is taken.
KINDS = (
    ("median_ratio", "quartiles", "times as fast"),
    ("median_times_as_fast", "quartiles", "times as fast"),
    ("cpu_speedup", "cpu_speedup_quartiles", "times as fast"),
    ("times_as_fast", "quartiles", "times as fast"),
    ("processor_ratio", "processor_ratio_range", "times as fast"),
    ("share", "range", "of the limit"),
    ("exponent", "", "exponent of growth"),
)


class Ratio(NamedTuple):
    """One ratio of a results file.

    Attributes:
        what: Names that lead to it, outermost first.
        value: The median over the rounds.
        spread: Quartiles, or lowest and highest; None where only the median was recorded.
        kind: What it says, such as "times as fast".
    """

    what: tuple[str, ...]
    value: float
    spread: tuple[float, float] | None
    kind: str


def add(commands: Any) -> None:
    """Add the command to the parser."""
    bench = add_command(
        commands,
        "bench",
        _bench,
        "list the benchmarks with the ratios last recorded, or run some of them",
        "calbook bench\n  calbook bench codecs losses --rounds 5 --out mine",
    )
    bench.add_argument("names", metavar="NAME", nargs="*", help="benchmarks to run, or all; none lists them")
    bench.add_argument("--rounds", type=whole(1), metavar="N", help="rounds of each (default: its own)")
    bench.add_argument(
        "--out", type=Path, default=RESULTS, metavar="DIR", help="results files (default: benchmarks/results)"
    )


def scripts() -> dict[str, Path]:
    """The benchmarks of this checkout by name.

    Raises:
        DataError: This is an installed package, without its repository.
    """
    if not (SCRIPTS / "timing.py").is_file():
        remedy = "check out calbook's repository, run make setup there, then .venv/bin/calbook bench"
        raise DataError(Defect("calbook bench", "", "", "the benchmarks are not part of the installed package", remedy))
    return {path.stem.removeprefix("bench_"): path for path in sorted(SCRIPTS.glob("bench_*.py"))}


def recorded(folder: Path = RESULTS) -> dict[str, dict[str, dict[str, Any]]]:
    """Results files of a folder, by the benchmark that wrote them and by their names.

    Raises:
        ResultsError: One of them cannot be trusted.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        record = read(path)
        script = re.search(r"benchmarks/bench_(\w+)\.py", record["command"])
        if script:
            found.setdefault(script[1], {})[path.name] = record
    return found


def ratios(figures: dict[str, Any], what: tuple[str, ...] = ()) -> Iterator[Ratio]:
    """All ratios among the figures of a results file, but those of a reference to itself.

    >>> list(ratios({"64x48": {"fit": {"median_ratio": 2.0, "quartiles": [1.9, 2.2]}}}))
    [Ratio(what=('64x48', 'fit'), value=2.0, spread=(1.9, 2.2), kind='times as fast')]
    """
    for value, spread, kind in KINDS:
        if isinstance(figures.get(value), int | float):
            low_high = figures.get(spread)
            found = Ratio(what, float(figures[value]), (low_high[0], low_high[1]) if low_high else None, kind)
            if found.value != 1 or found.spread not in (None, (1, 1)):
                yield found
            return
    for name, inner in figures.items():
        if isinstance(inner, dict):
            yield from ratios(inner, (*what, name))


def _bench(options: argparse.Namespace) -> int:
    known = scripts()
    if not options.names:
        found = recorded(options.out)
        for name, script in known.items():
            _show(name, script, found.get(name, {}))
        return 0
    for name in options.names:
        if name != "all" and name not in known:
            problem = f"unknown benchmark {name!r}{nearest(name, known)}"
            raise DataError(Defect("calbook bench", "", "", problem, f"choose among all, {', '.join(known)}"))
    options.out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in known if "all" in options.names else dict.fromkeys(options.names):
        status = _run(known[name], options)
        if status:
            failed.append(f"benchmarks/{known[name].name} failed (exit status {status})")
        else:
            _show(name, known[name], recorded(options.out).get(name, {}))
    return say(f"error: {'; '.join(failed)}", 1) if failed else 0


def _run(script: Path, options: argparse.Namespace) -> int:
    """Run a benchmark in a process of its own; gives back its exit status."""
    command = [sys.executable, str(script)]
    command += ["--rounds", str(options.rounds)] if options.rounds else []
    command += ["--out", str(options.out)] if options.out != RESULTS else []
    return subprocess.run(command).returncode


def _show(name: str, script: Path, records: dict[str, dict[str, Any]]) -> None:
    """Print a benchmark and the ratios that it last recorded."""
    purpose = (ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or "").split("\n\n")[0]
    print(f"{name:12}{' '.join(purpose.split())}")
    if not records:
        print(f"{'':12}not recorded")
    for file, record in records.items():
        print(f"{'':12}{file}: {provenance(record)}")
        rows = list(ratios(record["figures"]))
        width = max((len(" ".join(row.what)) for row in rows), default=0)
        for row in rows:
            spread = f" ({row.spread[0]:.2f}-{row.spread[1]:.2f})" if row.spread else ""
            print(f"{'':14}{' '.join(row.what):{width}}  {row.value:6.2f} {row.kind}{spread}")


def provenance(record: dict[str, Any]) -> str:
    """When, where and from which commit a results file was made, in one line."""
    commit = record["commit"]
    at = f"commit {commit['hash'][:7]}{' with changes' * commit['dirty']}" if commit else "no commit"
    return f"{record['date'][:10]}, {machine_name(record['machine'])}, {at}"
