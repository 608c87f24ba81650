"""How should the threads of a training step wait for each other?

    python benchmarks/bench_waiting.py [--rounds 9]

A step is hundreds of short parallel pieces. At the end of each the threads meet, and
whoever is early can sleep, which costs waking up, or spin, which takes the core from
whoever needs it. Three ways on two threads, against one thread that waits for nobody:
``OMP_WAIT_POLICY=PASSIVE`` sleeps at once; calbook's commands and the Makefile spin for
some microseconds first (``calbook.threads``); OpenMP by itself spins for milliseconds.
Each is a process of its own, and the processes take turns: first with the machine to
themselves, then beside one that keeps a core busy. Wall time. Writes
results/waiting-cpu.json.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import common
import timing

from calbook import results, threads

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
WAYS: dict[str, dict[str, str]] = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "sleep at once": {"OMP_NUM_THREADS": "2", **PASSIVE, "GOMP_SPINCOUNT": "0"},
    "spin, then sleep": {"OMP_NUM_THREADS": "2", **threads.WAITING},
    "OpenMP's own": {"OMP_NUM_THREADS": "2"},
}
NETWORKS = {"cal-hrnet-tiny": ((64, 48), 32), "hrnet-w32": ((128, 96), 16)}  # input, batch
BUSY = "while True: pass"


def make_step(name: str) -> Callable[[], None]:
    """Forward and backward through a network, in float32."""
    import torch

    from calbook.models import build_model

    (height, width), batch = NETWORKS[name]
    model, images = build_model(name, input_size=(height, width)), torch.randn(batch, 3, height, width)

    def step() -> None:
        maps = model(images)
        loss = maps.heatmaps.square().mean()
        (loss if maps.offsets is None else loss + maps.offsets.abs().mean()).backward()
        model.zero_grad(set_to_none=True)

    return step


def work(name: str) -> None:
    """Warm up, then answer every line on standard input with the seconds of one step."""
    step = make_step(name)
    step()
    print("ready", flush=True)
    for _ in sys.stdin:
        begin = time.perf_counter()
        step()
        print(time.perf_counter() - begin, flush=True)


def measure(name: str, rounds: int) -> dict[str, list[float]]:
    """Seconds of every round of every way; the ways take turns."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    workers = {
        way: subprocess.Popen(
            [sys.executable, __file__, "--worker", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=inherited | chosen,
        )
        for way, chosen in WAYS.items()
    }
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    try:
        for way, worker in workers.items():
            if worker.stdout.readline() != "ready\n":
                raise RuntimeError(f"the worker for {way!r} failed")
        for done in range(rounds):
            for way, worker in workers.items():
                worker.stdin.write("go\n")
                worker.stdin.flush()
                seconds[way].append(json.loads(worker.stdout.readline()))
            print(f"{name}: round {done + 1} of {rounds}", file=sys.stderr)
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    return seconds


def summarize(seconds: dict[str, list[float]]) -> dict[str, dict[str, Any]]:
    """Median step and, within rounds, how many times as fast as one thread."""
    figures = {}
    for way, own in seconds.items():
        paired = [alone / it for alone, it in zip(seconds["one thread"], own, strict=True)]
        figures[way] = {
            "step_ms": round(1e3 * statistics.median(own), 1),
            "times_as_fast": round(statistics.median(paired), 2),
            "quartiles": timing.spread(paired),
        }
    return figures


def table(record: dict[str, Any]) -> str:
    """The section of the README."""
    conditions = list(record["figures"])
    lines = [
        f"Medians of {record['settings']['rounds']} rounds; times as fast as one thread, quartiles in brackets.",
        "",
        "| network | threads |" + "".join(f" {condition}: ms per step | times as fast |" for condition in conditions),
        "| --- | --- |" + " ---: | ---: |" * len(conditions),
    ]
    for name in NETWORKS:
        for way in WAYS:
            rows = [record["figures"][condition][name][way] for condition in conditions]
            cells = (f"{row['step_ms']:.0f} | {common.times(row['times_as_fast'], row['quartiles'])}" for row in rows)
            lines.append(f"| `{name}` | {way} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = common.parser(__doc__, rounds=9)
    parser.add_argument("--worker", choices=NETWORKS, help="one of the processes that are timed")
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return
    begin = time.perf_counter()
    figures = {"quiet": {name: summarize(measure(name, options.rounds)) for name in NETWORKS}}
    neighbour = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        figures["a core busy"] = {name: summarize(measure(name, options.rounds)) for name in NETWORKS}
    finally:
        neighbour.kill()
    file = options.out / "waiting-cpu.json"
    results.write(
        file,
        experiment="bench_waiting",
        settings={"rounds": options.rounds, "ways": WAYS, "networks": NETWORKS},
        figures=figures,
        seconds=time.perf_counter() - begin,
        command=" ".join(["python benchmarks/bench_waiting.py", *sys.argv[1:]]),
    )
    print(table(results.read(file)))
    common.written(file)


if __name__ == "__main__":
    main()
