"""Which blocks come from the heap, asked of the C library itself."""

import ctypes
import os
import subprocess
import sys

import pytest

from calbook.inference import memory

gnu = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="a C library that is not GNU's")

PROGRAM = """
import ctypes
from calbook.inference.memory import keep_heap_flat

class Info(ctypes.Structure):  # struct mallinfo2: hblks is the number of blocks that lie outside the heap
    _fields_ = [(name, ctypes.c_size_t) for name in
                ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keep")]

library = ctypes.CDLL(None)
library.mallinfo2.restype, library.malloc.restype, library.malloc.argtypes = Info, ctypes.c_void_p, [ctypes.c_size_t]

def outside(megabytes):
    before = library.mallinfo2().hblks
    library.malloc(megabytes * 2**20)
    return library.mallinfo2().hblks - before

print(outside(8), end=" ")
keep_heap_flat()
print(outside(8), outside(40))
"""


def blocks_outside(**environment: str) -> str:
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout.strip()


@gnu
def test_blocks_up_to_32_megabytes_come_from_the_heap() -> None:
    assert blocks_outside() == "1 0 1"  # before the call; after it; a larger one


@gnu
@pytest.mark.parametrize(
    "environment",
    [{"MALLOC_MMAP_THRESHOLD_": "1048576"}, {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1048576"}],
    ids=["variable", "tunable"],
)
def test_what_the_environment_says_holds(environment: dict[str, str]) -> None:
    assert blocks_outside(**environment) == "1 1 1"


@pytest.mark.parametrize("error", [AttributeError, OSError, TypeError])
def test_other_c_libraries_are_left_alone(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise error

    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", load)
    memory.keep_heap_flat()
