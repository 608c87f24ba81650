"""How the threads of one process wait for each other.

A network is hundreds of short parallel pieces, and OpenMP reads how threads wait
between them once, when PyTorch is loaded. Its own choice spins for milliseconds, which
takes the cores from whoever needs them. Sleeping at once (``OMP_WAIT_POLICY=PASSIVE``
alone) costs more than the work where the pieces are short: on a quiet machine two threads
can then be slower than one. Ten thousand turns of an empty loop, some microseconds, are as
fast there as spinning for long. Where other programs keep the cores busy no way of waiting
helps: one thread (``OMP_NUM_THREADS=1``) is then faster than two. Measured by
``benchmarks/bench_waiting.py``.
"""

import os

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"}


def wait_briefly() -> None:
    """Let threads spin briefly and then sleep, unless the environment says otherwise; before PyTorch is loaded."""
    for name, value in WAITING.items():
        os.environ.setdefault(name, value)
