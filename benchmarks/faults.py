"""What the package does with damaged input and with faults of the machine, as a table.

Every reader of `tests/fuzz` is given inputs damaged in their bytes and in their
structure, each known by its seed. The only outcomes allowed are a sound result
and a refusal in one line; a traceback, a wait of more than 20 seconds, a file
changed outside and code run from the input are faults. Writes
`results/faults.json` and FAULTS.md beside this file.

    python benchmarks/faults.py --count 700
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from calbook import results

HERE = Path(__file__).resolve().parent
EXAMPLES = 3


def try_reader(reader: Any, count: int) -> dict[str, Any]:
    """Counts of the outcomes of a reader, every fault, and a few refusals."""
    from fuzz.attempts import attempt

    kinds: Counter[str] = Counter()
    faults: list[str] = []
    refusals: dict[str, str] = {}
    for seed in range(count):
        home = Path(tempfile.mkdtemp())
        (home / "in").mkdir()
        outcome = attempt(reader, seed, home / "in")
        shutil.rmtree(home)
        kinds[outcome.kind] += 1
        detail = outcome.detail.replace(f"{home / 'in'}/", "").replace(str(home), "")
        if not outcome.sound:
            faults.append(f"seed {seed}: {outcome.kind}: {detail}")
        elif outcome.kind == "refused" and len(detail) < 160:
            refusals.setdefault(detail.rpartition(";")[2], detail)  # one of each remedy
    return {
        "tried": count,
        "read": kinds["read"],
        "refused": kinds["refused"],
        "faults": faults,
        "examples": list(refusals.values())[:EXAMPLES],
    }


def try_machine() -> dict[str, str]:
    """What came of every fault of the machine."""
    from fuzz.machine import QUICK, SLOW

    outcomes = {}
    for cause in (*QUICK, *SLOW):
        home = Path(tempfile.mkdtemp())
        try:
            outcome = cause(home)
        except AssertionError as error:
            outcome = f"FAULT: {error}"
        shutil.rmtree(home)
        outcomes[cause.__name__.replace("_", " ")] = outcome
        print(f"{cause.__name__}: {outcome}", flush=True)
    return outcomes


def page(record: dict[str, Any]) -> str:
    """FAULTS.md of a results file."""
    inputs, machine = record["figures"]["inputs"], record["figures"]["machine"]
    total = sum(row["tried"] for row in inputs.values())
    faults = sum(len(row["faults"]) for row in inputs.values())
    lines = [
        "# Faults and damaged inputs",
        "",
        f"Made by `{record['command']}` on {record['date'][:10]}; nothing here is written by hand. The same inputs,",
        "fewer of them, are part of the tests (`tests/fuzz`); an input is known by its reader and its seed.",
        "",
        f"## Inputs: {total} tried, {faults} with an outcome that is not documented",
        "",
        "| reader | tried | read | refused in one line | faults |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {name} | {row['tried']} | {row['read']} | {row['refused']} | {len(row['faults'])} |"
            for name, row in inputs.items()
        ),
        "",
        "*Faults* are tracebacks, more than 20 seconds, messages of more than a line, files changed outside, code run",
        "from the input, results that are not what the documentation promises, networks changed by weights that were",
        "refused. *Data folder* is `calbook data check`, which reports and refuses nothing.",
        "",
        "Some refusals:",
        "",
        *(f"- {name}: `{text}`" for name, row in inputs.items() for text in row["examples"]),
        *(f"- **fault**, {name}: `{text}`" for name, row in inputs.items() for text in row["faults"]),
        "",
        "## Faults of the machine",
        "",
        "| what happens | outcome |",
        "| --- | --- |",
        *(f"| {name} | {outcome.replace('|', '/')} |" for name, outcome in machine.items()),
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=700, help="damaged inputs for each reader (default: 700)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sys.path.insert(0, str(HERE.parent / "tests"))
    from fuzz.readers import READERS

    begin = time.monotonic()
    inputs = {}
    for reader in READERS:
        inputs[reader.name] = row = try_reader(reader, options.count)
        print(f"{reader.name}: {row['read']} read, {row['refused']} refused, {len(row['faults'])} faults", flush=True)
    file = HERE / "results" / "faults.json"
    results.write(
        file,
        experiment="faults",
        settings={"count": options.count, "readers": len(READERS)},
        figures={"inputs": inputs, "machine": try_machine()},
        seconds=time.monotonic() - begin,
        command=f"python benchmarks/faults.py --count {options.count}",
        device="cpu",
    )
    (HERE / "FAULTS.md").write_text(page(results.read(file)), encoding="utf-8")
    return 1 if any(row["faults"] for row in inputs.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
