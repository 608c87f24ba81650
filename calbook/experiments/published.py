"""The papers' tables, as printed: ``published.csv``, a line per figure.

Figures of *Low-resolution Human Pose Estimation* (``CAL``; Wang et al., Pattern
Recognition 126, 2022, tables 1 to 9) and of *Simple Multi-Resolution Representation
Learning for Human Pose Estimation* (``MultiResolution``; Tran et al., 2020), read off the
papers. "(inferred)" marks what they do not say: the row names of two losses in table 6,
the splits of table 9.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name("published.csv")

# Names of the tables, and what the file calls them. Figures 1 and 5 have no table of their own.
TABLES = {
    **{str(number): ("CAL", str(number)) for number in range(1, 10)},
    "mr-val": ("MultiResolution", "COCO val2017"),
    "mr-testdev": ("MultiResolution", "COCO test-dev"),
    "mr-mpii": ("MultiResolution", "MPII"),
}


@dataclass(frozen=True)
class PublishedRow:
    """One row of a published table.

    Attributes:
        table: A key of ``TABLES``.
        method: As printed.
        backbone: As printed, ``-`` where there is none.
        input_size: As printed, such as ``128x96``, ``-`` where there is none.
        dataset: What was scored.
        figures: Metric to figure as printed; AP and PCKh in percent.
        nth: 0, or 1 for a second row of the same names (MPII names two works by one author).
    """

    table: str
    method: str
    backbone: str
    input_size: str
    dataset: str
    figures: dict[str, str]
    nth: int = 0

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What tells it from other rows."""
        return self.table, self.method, self.backbone, self.input_size, self.nth

    def figure(self, metric: str) -> float | None:
        """A figure as a number, None where it is not printed.

        >>> published("8")[0].figure("AP")
        29.7
        """
        text = self.figures.get(metric, "").rstrip("MG%")
        try:
            return float(text)
        except ValueError:
            return None


@cache
def all_rows() -> tuple[PublishedRow, ...]:
    """Every row of every table, in the papers' order."""
    names = {source: table for table, source in TABLES.items()}
    rows: list[PublishedRow] = []
    with FILE.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            table = names[line["paper"], line["table"]]
            here = (table, line["method"], line["backbone"], line["input_size"])
            nth = max((row.nth for row in rows if row.key[:4] == here), default=0)
            row = next((row for row in rows if row.key == (*here, nth)), None)
            if row is not None and line["metric"] in row.figures:  # a second row of the same names
                row, nth = None, nth + 1
            if row is None:
                row = PublishedRow(*here, line["dataset"], {}, nth)
                rows.append(row)
            row.figures[line["metric"]] = line["value"]
    return tuple(rows)


def published(table: str) -> tuple[PublishedRow, ...]:
    """The rows of one table.

    Raises:
        KeyError: There is no such table.
    """
    if table not in TABLES:
        raise KeyError(table)
    return tuple(row for row in all_rows() if row.table == table)
