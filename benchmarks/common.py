"""What the scripts here share: their two common options, and the sections of the README that they fill."""

import argparse
import importlib
from pathlib import Path

from calbook import results

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
# Section of the README -> script whose ``table(record)`` makes its text, and the results file that it makes it from.
SECTIONS = {
    "speed": ("bench_models", "bench_models.json"),
    "codecs": ("bench_codecs", "codecs-cpu.json"),
    "masks": ("bench_gmm", "masks-cpu.json"),
    "losses": ("bench_losses", "losses-cpu.json"),
    "loader": ("bench_loader", "loader-cpu.json"),
    "training": ("bench_training", "bench_training-cpu.json"),
    "waiting": ("bench_waiting", "waiting-cpu.json"),
    "inference": ("bench_inference", "inference-cpu.json"),
    "synthetic": ("bench_synthetic", "synthetic-cpu.json"),
    "book": ("bench_book", "book-cpu.json"),
    "growth": ("bench_growth", "growth-cpu.json"),
    "roofline": ("bench_roofline", "roofline-cpu.json"),
    "mutants-losses": ("mutation_testing", "mutation-losses.json"),
    "mutants-gmm": ("mutation_testing", "mutation-gmm.json"),
    "mutants-codecs": ("mutation_testing", "mutation-codecs.json"),
}


def parser(description: str | None, rounds: int) -> argparse.ArgumentParser:
    """A parser with the options that ``calbook bench`` hands to every script."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rounds", type=int, default=rounds, help="default: %(default)s")
    made.add_argument("--out", type=Path, default=RESULTS, help="folder of the results file (default: %(default)s)")
    return made


def section(name: str) -> str:
    """The text of a section, made from its results file."""
    script, file = SECTIONS[name]
    path = RESULTS / file
    if not path.is_file():
        return f"Nothing is recorded yet; `calbook bench {script.removeprefix('bench_')}` measures it."
    text: str = importlib.import_module(script).table(results.read(path))
    return text


def fill(name: str, text: str) -> None:
    """Put a text between the markers of a section of the README."""
    readme = HERE / "README.md"
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    content = readme.read_text(encoding="utf-8")
    if content.count(begin) != 1 or content.count(end) != 1:
        raise SystemExit(f"{readme}: expected one {begin!r} and one {end!r}")
    head, rest = content.split(begin)
    results.write_atomically(readme, f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}".encode())


def written(file: Path) -> None:
    """Fill the section that a new results file belongs to, unless it was written elsewhere."""
    for name, (_, known) in SECTIONS.items():
        if file.resolve() == (RESULTS / known).resolve():
            fill(name, section(name))


def times(ratio: float, spread: list[float] | None = None) -> str:
    """A ratio, and its spread in brackets."""
    return f"{ratio:.2f}" + (f" ({spread[0]:.2f}-{spread[1]:.2f})" if spread else "")


if __name__ == "__main__":
    for each in SECTIONS:  # after a change of their wording, without measuring again
        fill(each, section(each))
