"""Which small wrong changes to codecs, mixtures and losses the tests notice.

Every mutant (see mutants.py) is compiled in place of its module in a process of its
own, and the tests of that module run until the first fails. A mutant is killed if a
test fails, the module cannot be imported or the tests take four times as long as
they should; what survives is listed in the results file. Some survivors are no
faults: a change that only costs time, or that matters on a GPU only.

    python benchmarks/mutation_testing.py losses
    python benchmarks/mutation_testing.py codecs --minutes 60

All mutants of a part take hours: a surviving one costs all its tests. They are tried
in random order, so that the share killed of the first ones is an estimate for all.
"""

import argparse
import gc
import importlib
import importlib.abc
import importlib.util
import io
import os
import random
import select
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from mutants import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
# Quick and telling tests first: most mutants fall to them.
CODECS = ["tests/codecs/test_codecs_reference.py", "tests/codecs/test_codecs_golden.py", "tests/codecs"]
GMM = ["tests/test_gmm_parts.py", "tests/test_gmm.py::test_golden_masks", "tests/test_gmm.py::test_the_fallback"]
PARTS: dict[str, tuple[list[str], list[str]]] = {  # package part -> its modules, and the tests that are to notice
    "codecs": (sorted(f"calbook/codecs/{p.name}" for p in (ROOT / "calbook/codecs").glob("*.py")), CODECS),
    "gmm": (sorted(f"calbook/gmm/{p.name}" for p in (ROOT / "calbook/gmm").glob("*.py")), [*GMM, "tests/test_gmm.py"]),
    "losses": (["calbook/losses.py"], ["tests/test_losses.py"]),
}
PATIENCE = 4.0  # times the sound run


class _First:
    """A pytest plugin that says which test fails first, and ends the process there."""

    def __init__(self, answer: int) -> None:
        self.answer = answer

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            _end(self.answer, report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            _end(self.answer, f"{report.nodeid} cannot be imported")


def _end(answer: int, word: str) -> NoReturn:
    os.write(answer, word.encode())
    os._exit(0)


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives a changed module where the sound one is asked for."""

    def __init__(self, mutant: Mutant) -> None:
        parts = mutant.file.with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        self.path = ROOT / mutant.file
        self.mutant = mutant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name:
            return None
        folders = [str(self.path.parent)] if self.path.name == "__init__.py" else None
        return importlib.util.spec_from_file_location(
            name, self.path, loader=self, submodule_search_locations=folders
        )  # fmt: skip

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.mutant.tree, str(self.path), "exec"), module.__dict__)


def _child(mutant: Mutant | None, tests: Sequence[str], answer: int) -> None:
    """Run the tests in this forked process and say which failed first."""
    os.setpgid(0, 0)
    import pytest
    from hypothesis import settings

    settings.register_profile("mutation", derandomize=True, database=None)
    settings.load_profile("mutation")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        try:
            if mutant is not None:
                changed = _Changed(mutant)
                sys.meta_path.insert(0, changed)
                importlib.import_module(changed.name)  # doctest collection finds it in sys.modules
            # Plain assertions and no plugins: a process starts in a third of the time.
            options = ["-x", "-q", "--assert=plain", "-p", "no:cacheprovider", "-m", "not slow"]
            code = pytest.main([*options, *tests], plugins=[_First(answer)])
            word = "survived" if code == 0 else f"exit status {int(code)}"
        except BaseException as error:
            word = f"{type(error).__name__} on import"
    _end(answer, word)


def outcome(mutant: Mutant | None, tests: Sequence[str], limit: float) -> tuple[str, float]:
    """What became of a mutant, and after how many seconds."""
    reader, writer = os.pipe()
    begin = time.monotonic()
    process = os.fork()
    if process == 0:
        os.close(reader)
        _child(mutant, tests, writer)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], limit)
    word = os.read(reader, 4096).decode() if ready else f"no end within {limit:.0f} s"
    os.close(reader)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process, signal.SIGKILL)  # also what the tests have started
    os.waitpid(process, 0)
    return word or "the process died", time.monotonic() - begin


def run(part: str, minutes: float, seed: int) -> dict[str, Any]:
    """Try the mutants of a part, as many as the minutes allow; figures for its results file."""
    files, tests = PARTS[part]
    sound, seconds = outcome(None, [*tests, *files], 600)
    if sound != "survived":
        sys.exit(f"mutation testing: the sound package fails {sound}; mend that first")
    print(f"{part}: the tests take {seconds:.0f} s", flush=True)
    every = [m for file in files for m in mutants(Path(file), (ROOT / file).read_text(encoding="utf-8"))]
    random.Random(seed).shuffle(every)
    end = time.monotonic() + 60 * minutes
    killed: dict[str, int] = dict.fromkeys(files, 0)
    tried: dict[str, int] = dict.fromkeys(files, 0)
    survivors = []
    for number, mutant in enumerate(every, 1):
        if time.monotonic() > end:
            break
        word, took = outcome(mutant, [*tests, mutant.file.as_posix()], PATIENCE * seconds + 20)
        tried[mutant.file.as_posix()] += 1
        killed[mutant.file.as_posix()] += word != "survived"
        if word == "survived":
            survivors.append(str(mutant))
        print(f"{number}/{len(every)} {took:5.1f} s  {mutant}  [{word}]", flush=True)
    return {
        "mutants": len(every),
        "tried": sum(tried.values()),
        "killed": sum(killed.values()),
        "share killed": round(sum(killed.values()) / max(sum(tried.values()), 1), 4),
        "by file": {f: {"tried": tried[f], "killed": killed[f]} for f in files if tried[f]},
        "survivors": sorted(survivors),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS, help="what to change")
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no further mutant after so long")
    parser.add_argument("--seed", type=int, default=0, help="of their order (default: 0)")
    parser.add_argument("--out", type=Path, help="results file (default: benchmarks/results/mutation-<part>.json)")
    options = parser.parse_args()
    os.chdir(ROOT)
    for name in ("torch", "pytest", "hypothesis", "scipy.ndimage", "sklearn.mixture", "_pytest.doctest"):
        importlib.import_module(name)  # once, before the forks
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    gc.freeze()  # spares every fork a walk over all that was imported
    begin = time.monotonic()
    figures = run(options.part, options.minutes, options.seed)
    from calbook import results

    settings = {"part": options.part, "seed": options.seed}
    command = f"python benchmarks/mutation_testing.py {options.part} --seed {options.seed}"
    if options.minutes < 1e6:
        settings["minutes"] = options.minutes
        command += f" --minutes {options.minutes:g}"
    results.write(
        options.out or ROOT / "benchmarks" / "results" / f"mutation-{options.part}.json",
        experiment="mutation_testing",
        settings=settings,
        figures=figures,
        seconds=time.monotonic() - begin,
        command=command,
        device="cpu",
    )
    print(f"{options.part}: {figures['killed']} of {figures['tried']} killed, {100 * figures['share killed']:.1f} %")


if __name__ == "__main__":
    main()
