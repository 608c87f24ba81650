"""Timing two ways to one answer against each other, in one process on one core.

Processor time is compared, not wall time, so that other work on the machine
matters little, and the two take turns, so that what remains hits both. The best
of the rounds is what the machine can do; the ratio of each round shows how far
it was disturbed.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

# One thread, and memory kept for reuse after it is freed, as in a running training: asking the system for
# fresh pages at every call would otherwise cost more than the arithmetic. The same for both ways.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "268435456",
}


def settle() -> None:
    """Start the running script again with ENVIRONMENT, unless it runs with it already."""
    if any(os.environ.get(name) != value for name, value in ENVIRONMENT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ENVIRONMENT})
    torch.set_num_threads(1)


def once(run: Callable[[], object], device: str) -> float:
    """Milliseconds of one call: processor time, or on a GPU wall time until it is done."""
    if device == "cpu":
        begin = time.process_time()
        run()
        return 1e3 * (time.process_time() - begin)
    torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - begin)


def clock(device: str) -> str:
    """What is timed, in words."""
    return "processor time, best of all rounds" if device == "cpu" else "wall time, synchronised"


def spread(values: list[float], digits: int = 2) -> list[float]:
    """Quartiles, or the lowest and the highest of fewer than four values."""
    if len(values) < 4:
        return [round(min(values), digits), round(max(values), digits)]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return [round(low, digits), round(high, digits)]


def compare(
    loop: Callable[[], object], package: Callable[[], object], rounds: int, device: str, repeats: int = 10
) -> dict[str, Any]:
    """Time the loop once and the package several times in each round, after a round to warm up.

    Returns:
        Best times in milliseconds, their ratio, and over the rounds the median and the
        quartiles of the ratio within each.
    """
    loops, packages, ratios = [], [], []
    for round_ in range(rounds + 1):
        a = once(loop, "cpu")
        b = [once(package, device) for _ in range(repeats)]
        if round_:
            loops.append(a)
            packages.append(min(b))
            ratios.append(a / statistics.median(b))
    return {
        "loop_ms": round(min(loops), 3),
        "package_ms": round(min(packages), 3),
        "ratio": round(min(loops) / min(packages), 2),
        "median_ratio": round(statistics.median(ratios), 2),
        "quartiles": spread(ratios),
    }
