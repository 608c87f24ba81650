"""Results on a page of the book: tables with what is missing of them, claims and contrasts with their verdicts."""

from pathlib import Path
from typing import Any

from calbook.experiments import verdicts
from calbook.experiments.claims import CLAIMS, Contrast
from calbook.experiments.presets import PresetName
from calbook.experiments.reports import Line, cells, headers, lines_of, title_of
from calbook.experiments.running import ROWS
from calbook.page import say, show_table

_IN_FILES_ONLY = ("APM, ours", "APL, ours", "AR, ours")  # a page is not wide enough for them
_ALWAYS = ("row", "ours", "AP, ours", "PCKh, ours", "seeds")


class ResultsPage:
    """What a chapter shows of the results files at one preset; each table is read once.

    Args:
        preset: Whose rows.
        rows: Folder of the results files.

    Attributes:
        records: All results files read so far, by network and seed.
    """

    def __init__(self, preset: PresetName, rows: Path = ROWS) -> None:
        self.preset: PresetName = preset
        self.rows = rows
        self.records: dict[tuple[str, int], dict[str, Any]] = {}
        self._lines: dict[str, list[Line]] = {}

    def lines(self, name: str) -> list[Line]:
        """The rows of a table, as ``reports.lines_of`` gives them."""
        if name not in self._lines:
            self._lines[name] = lines_of(name, self.preset, self.rows)
            for line in self._lines[name]:
                for record in line.records:
                    self.records[record["settings"]["name"], int(record["settings"]["seed"])] = record
        return self._lines[name]

    def command(self, name: str) -> str:
        """What makes the missing rows of a table, with as many seeds as a verdict needs."""
        return f"calbook reproduce {name} --preset {self.preset} --seeds {verdicts.SEEDS}"

    def standing(self, name: str) -> str:
        """A sentence on what has been run of a table, with the command for what has not.

        >>> ResultsPage("smoke", Path("nowhere")).standing("3").split(". ")[0]
        '*Table 3, preset `smoke`: of 2 networks 2 not run yet'
        """
        runs = {line.run.experiment.name: (line.run, len(line.records)) for line in self.lines(name) if line.run}
        none = sum(count == 0 for _, count in runs.values())
        few = sum(0 < count < verdicts.SEEDS and run.experiment.is_trained for run, count in runs.values())
        what = f"{title_of(name)}, preset `{self.preset}`"
        if not none and not few:
            trained = any(run.experiment.is_trained for run, _ in runs.values())
            with_seeds = f" with {verdicts.SEEDS} seeds or more" if trained else ""
            return f"*{what}: all {len(runs)} networks have been run{with_seeds}.*"
        left = [f"{none} not run yet"] * (none > 0) + [f"{few} with fewer than {verdicts.SEEDS} seeds"] * (few > 0)
        makes = f"This makes what is missing:* `{self.command(name)}`"
        return f"*{what}: of {len(runs)} networks {' and '.join(left)}. {makes}"

    def show_rows(self, name: str, caption: str = "") -> None:
        """Show a table, ours beside theirs, without columns that say nothing, and what is missing of it."""
        lines = self.lines(name)
        heads, body = headers(lines, name), cells(lines, name)
        keep = [i for i, head in enumerate(heads) if head in _ALWAYS or _tells(head, [row[i] for row in body])]
        title = f"{title_of(name)}. {caption}" if caption else title_of(name)
        table = [[row[i] for i in keep] for row in body]
        show_table([heads[i] for i in keep], table, f"{title} (preset {self.preset}, %)")
        say(self.standing(name))

    def show_claims(self, *names: str) -> None:
        """Show claims of the papers, each with its contrasts."""
        for name in names:
            claim = CLAIMS[name]
            say(f"**The claim** ({claim.source}). {claim.says}.")
            body = [row[1:] for row in verdicts.cells((name,), self.preset, self.rows)]
            show_table(verdicts.HEADERS[1:], body, f"Differences in points of AP, preset {self.preset}")

    def show_contrasts(self, caption: str, contrasts: tuple[Contrast, ...]) -> None:
        """Show contrasts of which no paper has figures, by the rule of the claims; count those without a row."""
        found = verdicts.findings(contrasts, self.preset, self.rows)
        body = [[item.contrast.label, *verdicts.figures(item)[1:]] for item in found if item.ours]
        if body:
            title = f"{caption}: differences in points of AP, preset {self.preset}"
            show_table(["contrast", *verdicts.HEADERS[3:]], body, title)
        if len(body) < len(found):
            missing = f"{len(found) - len(body)} of {len(found)} contrasts have no rows"
            say(f"*{caption}: {missing} at preset `{self.preset}`.*")


def _tells(head: str, column: list[object]) -> bool:
    """Whether a column has anything to say: some cell is filled, and not all networks are the same."""
    if head in _IN_FILES_ONLY or all(cell is None for cell in column):
        return False
    return head != "paper's network" or len(set(column)) > 1
