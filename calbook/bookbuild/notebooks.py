"""Read, write and judge notebook files."""

from pathlib import Path
from typing import Any

import nbformat

from calbook.bookbuild.book import BookError
from calbook.data.defects import one_line

RECORD = "calbook"  # key of bookbuild's record in the metadata of an executed copy
INJECTED = "injected-parameters"  # papermill's tag of the cell it adds

Notebook = Any  # nbformat's node: a mapping whose keys are attributes, too


def read_notebook(path: Path) -> Notebook:
    """A notebook in the current format.

    Raises:
        BookError: The file is not a notebook.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)  # reading only logs what is missing
    except Exception as error:  # conversions from older formats raise whatever a damaged cell makes them
        reason = one_line(next(iter(str(error).splitlines()), type(error).__name__)[:200])
        raise BookError(f"{path.name} is not a readable notebook: {reason}") from error
    return notebook


def to_bytes(notebook: Notebook) -> bytes:
    """A notebook as the content of a file."""
    return str(nbformat.writes(notebook)).encode()


def broken_cell(notebook: Notebook) -> str | None:
    """The first cell that was not executed or failed, in words."""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.execution_count is None:
            return f"has an unexecuted cell (cell {number})"
        if any(output.output_type == "error" for output in cell.outputs):
            return f"has a failing cell (cell {number})"
    return None
