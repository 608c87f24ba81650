"""What is wrong with a data set, said in one line: file, entry, field, remedy."""

import reprlib
from dataclasses import dataclass
from typing import Literal

Severity = Literal["fatal", "error", "warning"]


@dataclass(frozen=True)
class Defect:
    """One thing that is wrong with a data set.

    Attributes:
        file: The file it is in.
        entry: Which entry of the file, such as ``annotation 1203``; empty for the whole file.
        field: Which field of the entry; empty for the whole entry.
        problem: What is wrong.
        remedy: What to do.
        severity: ``"fatal"``, the readers refuse it; ``"error"``, they cope, yet
            the data are wrong; ``"warning"``, worth a look.

    >>> print(Defect("a.json", "annotation 7", "bbox", "width is 0", "correct it"))
    a.json: annotation 7: bbox: width is 0; correct it
    """

    file: str
    entry: str
    field: str
    problem: str
    remedy: str
    severity: Severity = "fatal"

    def __str__(self) -> str:
        where = ": ".join(part for part in (self.file, self.entry, self.field) if part)
        return one_line(f"{where}: {self.problem}; {self.remedy}")


class DataError(ValueError):
    """Data that cannot be used. Its message is one line: file, entry, field, problem, remedy.

    The one exception that the readers of this package raise for malformed
    input. A file that does not exist raises ``FileNotFoundError`` as usual.
    """

    def __init__(self, defect: Defect) -> None:
        super().__init__(str(defect))
        self.defect = defect


def one_line(text: str) -> str:
    """The text with control characters written out, so that it stays on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(value: object) -> str:
    """A value as a message shows it: its repr, cut short.

    >>> shown([1] * 100)
    '[1, 1, 1, 1, 1, 1, ...]'
    """
    return reprlib.repr(value)
