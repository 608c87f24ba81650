"""One attempt: give a reader a damaged input and judge what comes of it."""

import random
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.guard import TimeIsUp, watched

SECONDS = 20.0  # what a damaged input of a few kilobytes may cost on a busy machine
LONGEST = 4000  # letters of a message


@dataclass(frozen=True)
class Reader:
    """Something in the package that reads from outside.

    Attributes:
        name: How the tables call it.
        prepare: Writes a damaged input, drawn from the generator, into an empty folder and gives
            back what reads it.
        errors: The documented refusals.
        check: Raises if what was read is not what the documentation promises.
    """

    name: str
    prepare: Callable[[random.Random, Path], Callable[[], Any]]
    errors: tuple[type[Exception], ...]
    check: Callable[[Any], None] = lambda _: None


@dataclass(frozen=True)
class Outcome:
    """What became of an attempt: ``read``, ``refused`` or a fault.

    Attributes:
        kind: One of ``read``, ``refused``, ``traceback``, ``hang``, ``more than a line``, ``wrote or ran``,
            ``wrong result``.
        detail: The message of the refusal or of the fault.
    """

    kind: str
    detail: str = ""

    @property
    def sound(self) -> bool:
        """Whether it is a documented outcome."""
        return self.kind in ("read", "refused")


def attempt(reader: Reader, seed: int, folder: Path) -> Outcome:
    """The outcome of one damaged input, drawn by the seed."""
    action = reader.prepare(random.Random(f"{reader.name} {seed}"), folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with watched(folder, SECONDS) as misdeeds:
                outcome = _judged(reader, action)
        except TimeIsUp:
            return Outcome("hang", f"no end within {SECONDS:.0f} s")
    return Outcome("wrote or ran", "; ".join(misdeeds)) if misdeeds else outcome


def _judged(reader: Reader, action: Callable[[], Any]) -> Outcome:
    try:
        value = action()
    except reader.errors as error:
        message = str(error)
        if not message.strip() or len(message) > LONGEST or not message.isprintable():
            return Outcome("more than a line", repr(message[:300]))
        return Outcome("refused", message)
    except Exception as error:
        return Outcome("traceback", f"{type(error).__name__}: {str(error)[:300]}")
    try:
        reader.check(value)
    except Exception as error:
        return Outcome("wrong result", f"{type(error).__name__}: {str(error)[:300]}")
    return Outcome("read")
