"""Run again the command that each results file records, and compare the figures.

    python experiments/reproduce.py --data ../shared/data [NAME...]

A results file says which command made it. This script runs that command with another
place for its output and puts old and new figures side by side; it changes no file.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from calbook import results

ROOT = Path(__file__).resolve().parents[1]
DATA = "../shared/data"  # where the recorded commands find the real data
CLOSE = 1e-3  # largest difference, relative to max(1, |figure|), between machines


def leaves(figures: Any, path: str = "") -> dict[str, Any]:
    """Flatten nested figures to {"a / b / 0": value}."""
    if isinstance(figures, dict):
        items = [(f"{path} / {key}" if path else str(key), value) for key, value in figures.items()]
    elif isinstance(figures, list):
        items = [(f"{path} / {index}", value) for index, value in enumerate(figures)]
    else:
        return {path: figures}
    return {name: leaf for key, value in items for name, leaf in leaves(value, key).items()}


def difference(old: Any, new: Any) -> float:
    """Of two figures, relative to max(1, |old|); infinite if they are of different kinds."""
    if isinstance(old, (int, float)) and isinstance(new, (int, float)):
        return abs(old - new) / max(1.0, abs(old))
    return 0.0 if old == new else float("inf")


def run_again(command: str, data: str, folder: Path) -> Path:
    """Run a recorded command, its outputs redirected into ``folder``."""
    words = [data + word.removeprefix(DATA) if word.startswith(DATA) else word for word in shlex.split(command)]
    if words[:1] == ["python"] and words[1].startswith("experiments/"):
        options = ["--runs", str(folder / "runs"), "--out", str(folder)]
        subprocess.run([sys.executable, *words[1:], *options], cwd=ROOT, check=True)
        return next(folder.glob("*.json"))
    if words[0] != "papermill" or "results" not in words:
        raise ValueError(f"only chapters with a results parameter and experiments run again, not: {command}")
    output = folder / "results.json"
    words[0] = str(Path(sys.executable).parent / "papermill")
    words[2] = str(folder / "executed.ipynb")
    words[words.index("results") + 1] = str(output)
    subprocess.run([*words, "--log-level", "ERROR"], cwd=ROOT, check=True)
    return output


def main() -> int:
    """Run the chosen commands; 1 if any figure is different."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="results files to make again, without .json (default: all)")
    parser.add_argument(
        "--data", default=DATA, help="folder with coco_annotations/ and coco_mini/ (default: %(default)s)"
    )
    arguments = parser.parse_args()
    known = {path.stem: path for path in sorted(results.RESULTS.glob("*.json"))}
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        parser.error(f"no results file {unknown[0]!r}: there are {', '.join(known)}")
    verdicts = [run_one(name, known[name], arguments.data) for name in arguments.names or known]
    return 0 if all(verdicts) else 1


def run_one(name: str, path: Path, data: str) -> bool:
    """Run one file's command again and print the verdict in a line; False if its figures were not found again."""
    try:
        old = results.read(path)
        if DATA in old["command"] and not (ROOT / data).is_dir():
            print(f"{name}: left out, no data in {data} (give its folder with --data)")
            return True
        with tempfile.TemporaryDirectory() as folder:
            new = results.read(run_again(old["command"], data, Path(folder)))
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"{name}: FAILED, {error}", flush=True)
        return False
    before, after = leaves(old["figures"]), leaves(new["figures"])
    worst, where = max((difference(before.get(key), after.get(key)), key) for key in before | after)
    verdict = "the same" if worst <= CLOSE else "DIFFERENT"
    print(f"{name}: {verdict}; {len(before)} figures, largest difference {worst:.2g} ({where})", flush=True)
    return worst <= CLOSE


if __name__ == "__main__":
    sys.exit(main())
