"""How a process that predicts for long keeps its memory flat."""

import ctypes
import os

M_MMAP_THRESHOLD = -3  # of GNU's malloc.h
LARGEST_IN_HEAP = 32 * 2**20  # bytes; the most that the library's own rule comes to


def keep_heap_flat() -> None:
    """Fix which blocks come from the heap, as far as the C library lets us; for the whole process.

    GNU's library draws that line anew whenever a larger block is freed, so the heap's
    gaps, and with them the memory that a stream of pictures takes, depend on the order
    of the pictures and grow for thousands of them. The line is drawn where that rule
    ends anyway. What the environment says of it holds, and other libraries are left alone.
    Measured by ``benchmarks/bench_inference.py``.
    """
    if "MALLOC_MMAP_THRESHOLD_" in os.environ or "malloc.mmap_threshold" in os.environ.get("GLIBC_TUNABLES", ""):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl and macOS; nothing to load; Windows
        return
    mallopt(M_MMAP_THRESHOLD, LARGEST_IN_HEAP)
