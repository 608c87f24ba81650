"""How the threads of one process wait for each other.

A network is hundreds of short parallel pieces, and OpenMP reads how threads wait
between them once, when PyTorch is loaded. Its own choice spins for milliseconds: where
cores are shared, a training step then takes up to ten times as long. Sleeping at once
(``OMP_WAIT_POLICY=PASSIVE`` alone) is slow on a quiet machine, where waking up costs
more than the work: two threads are then slower than one. Ten thousand turns of an empty
loop, some microseconds, are right for both (``benchmarks/bench_waiting.py``).
"""

import os

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


def wait_briefly() -> None:
    """Let threads spin briefly and then sleep, unless the environment says otherwise; before PyTorch is loaded."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
