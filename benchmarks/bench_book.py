"""Building the book again: with nothing changed and with one page changed, against making all of it.

    python benchmarks/bench_book.py [--rounds 1] [--chapters 04_heatmaps]

Works on a copy of the last commit, so that nothing that is being written counts. Making
all of it is what papermill and Jupyter Book do by themselves: execute every notebook, render every
page. The changed page is the last of the chapters: a comment in its code. Processor time of
all processes together, and wall time, which is what an author waits for and
what else runs on the machine disturbs. Writes results/book-cpu.json.
"""

import io
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import common

from calbook import results

KINDS = {
    "everything": "all of it, from nothing",
    "nothing changed": "again, nothing changed",
    "one page changed": "again, one chapter changed",
}


def git(*words: str) -> bytes:
    """What a git command prints."""
    return subprocess.run(["git", "-C", str(results.REPOSITORY), *words], capture_output=True, check=True).stdout


def checkout(folder: Path) -> str:
    """The files of the last commit, without its history; gives back the commit."""
    commit = git("rev-parse", "HEAD").decode().strip()
    with tarfile.open(fileobj=io.BytesIO(git("archive", commit))) as files:
        files.extractall(folder, filter="data")
    return commit


def keep_only(folder: Path, chapters: list[str]) -> None:
    """Leave the other notebooks out of the table of contents, and allow links that then lead nowhere."""
    toc = folder / "_toc.yml"
    lines = toc.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not re.search(r"file: book/\d\d_", line) or line.rsplit("/", 1)[1] in chapters]
    parts, text = "\n".join(kept).split("  - caption:"), ""
    for part in parts:
        if part is parts[0] or "file:" in part:
            text += part if part is parts[0] else f"  - caption:{part}"
    toc.write_text(text, encoding="utf-8")


def build(folder: Path) -> dict[str, float]:
    """Build the book in a folder by that folder's own package: wall and processor seconds."""
    variables = os.environ | {"PYTHONPATH": str(folder), "CI": ""}
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "calbook.bookbuild", "all", "-j", str(results.cores())]
    finished = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if finished.returncode:
        raise SystemExit(f"the book was not built: {(finished.stderr or finished.stdout).strip()}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": time.perf_counter() - wall, "processor": processor}


def change(folder: Path, chapter: str, round_: int) -> None:
    """Add a comment to the chapter's first cell of code."""
    path = folder / "book" / f"{chapter}.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code" and not cell["metadata"].get("tags"))
    cell["source"] = [f"# round {round_}\n", *cell["source"]]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(folder: Path, last: str, rounds: int) -> dict[str, Any]:
    """Seconds of each kind of build, and how many times as fast as making everything."""
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for round_ in range(rounds):
        shutil.rmtree(folder / "_build", ignore_errors=True)
        for kind in KINDS:
            if kind == "one page changed":
                change(folder, last, round_)
            found[kind].append(build(folder))
            print(f"round {round_ + 1} of {rounds}: {kind}: {found[kind][-1]}", flush=True)
    figures: dict[str, Any] = {}
    for kind, rows in found.items():
        row: dict[str, Any] = {}
        for clock in ("wall", "processor"):
            ratios = [a[clock] / b[clock] for a, b in zip(found["everything"], rows, strict=True)]
            row[f"{clock}_seconds"] = round(statistics.median(r[clock] for r in rows), 1)
            row[f"{clock}_ratio"] = round(statistics.median(ratios), 2)
            if rounds > 1:
                row[f"{clock}_ratio_range"] = [round(min(ratios), 2), round(max(ratios), 2)]
        figures[kind] = row
    return figures


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    lines = ["| build | seconds | processor seconds | times as fast (processor time) |", "| --- | ---: | ---: | ---: |"]
    for kind, row in record["figures"].items():
        numbers = f"{row['wall_seconds']} | {row['processor_seconds']} | {row['processor_ratio']:.1f}"
        lines.append(f"| {KINDS[kind]} | {numbers} |")
    chosen, rounds = record["settings"]["notebooks"], record["settings"]["rounds"]
    return "\n".join([*lines, "", f"Notebooks: {', '.join(chosen)}; rounds: {rounds}."])


def main() -> None:
    parser = common.parser(__doc__, rounds=1)
    parser.add_argument("--chapters", nargs="+", metavar="NAME", help="only these chapters (default: all)")
    options = parser.parse_args()
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "book"
        commit = checkout(folder)
        if options.chapters:
            keep_only(folder, options.chapters)
        listed = re.findall(r"(?:root|file): (book/\S+)", (folder / "_toc.yml").read_text(encoding="utf-8"))
        notebooks = [Path(page).name for page in listed if (folder / f"{page}.ipynb").is_file()]
        numbered = [name for name in notebooks if re.match(r"\d\d_", name)]
        if not numbered:
            raise SystemExit(f"none of {', '.join(options.chapters)} is a chapter")
        figures = measure(folder, numbered[-1], options.rounds)
    file = options.out / "book-cpu.json"
    results.write(
        file,
        experiment="book_speed",
        settings={
            "commit_of_the_book": commit,
            "notebooks": notebooks,
            "changed": numbered[-1],
            "rounds": options.rounds,
        },
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_book.py", *sys.argv[1:]]),
        device="cpu",
    )
    common.written(file)


if __name__ == "__main__":
    main()
