"""Results on a page of the book: tables with what is missing of them, claims and contrasts with their verdicts."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calbook.experiments import verdicts
from calbook.experiments.claims import CLAIMS, Contrast, RowName
from calbook.experiments.presets import PresetName
from calbook.experiments.reports import Line, cells, headers, lines_of, title_of
from calbook.experiments.running import ROWS
from calbook.experiments.verdicts import Finding
from calbook.page import say, show_table
from calbook.results import RESULTS, read

_IN_FILES_ONLY = ("AP50, ours", "APM, ours", "APL, ours", "AR, ours")  # a page is not wide enough for them
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

    def findings(self, contrasts: Sequence[Contrast]) -> list[Finding]:
        """What the rows say of some contrasts, by the rule of ``calbook.experiments.verdicts``.

        Raises:
            ValueError: A table has no such row.
            ResultsError: A file was changed by hand.
        """
        return [verdicts.finding_of(contrast, self.lines(contrast.table)) for contrast in contrasts]

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
        for row in body:
            row[0] = str(row[0]).removesuffix(" (Ours)")  # the paper's word for itself; ours are other columns here
        table = [[row[i] for i in keep] for row in body]
        show_table([heads[i] for i in keep], table, f"{title} (preset {self.preset}, %)")
        say(self.standing(name))

    def show_claims(self, *names: str) -> None:
        """Show claims of the papers, each with its contrasts and what came out."""
        for name in names:
            claim = CLAIMS[name]
            say(f"**The claim** ({claim.source}). {claim.says}.")
            found = self.findings(claim.contrasts)
            body = [[item.contrast.label, *verdicts.figures(item)] for item in found]
            show_table(verdicts.HEADERS[1:], body, f"Differences in points of AP, preset {self.preset}")
            if any(item.ours for item in found):
                say(f"**Outcome.** {outcome([(item.contrast.label, item) for item in found])}")

    def show_contrasts(self, caption: str, contrasts: tuple[Contrast, ...]) -> None:
        """Show what the questions ask, by the rule of the claims; count those without a row.

        There is no column for the few printed figures.
        """
        found = self.findings(contrasts)
        body = [[item.contrast.label, *verdicts.figures(item)[1:]] for item in found if item.ours]
        if body:
            title = f"{caption}: differences in points of AP, preset {self.preset}"
            show_table(["contrast", *verdicts.HEADERS[3:]], body, title)
        if len(body) < len(found):
            missing = f"{len(found) - len(body)} of {len(found)} contrasts have no rows"
            say(f"*{caption}: {missing} at preset `{self.preset}`.*")

    def compared(self, contrast: Contrast) -> tuple[tuple[tuple[str, str], ...], ...]:
        """Networks at the preset and evaluations on either side: alike for contrasts that are the same here."""
        sides = ([self._line(contrast.table, row) for row in side] for side in (contrast.plus, contrast.minus))
        return tuple(
            tuple(sorted((line.run.experiment.name if line.run else "", line.evaluation) for line in side))
            for side in sides
        )

    def has_trained(self, contrast: Contrast) -> bool:
        """Whether all its networks are trained; a perfect one is ahead by nature."""
        lines = [self._line(contrast.table, row) for row in contrast.plus + contrast.minus]
        return all(line.run is None or line.run.experiment.is_trained for line in lines)

    def beside(self) -> dict[str, list[Finding]]:
        """What stands beside some claims, never in their place, by the name of the claim.

        UDP read without its smoothing, and CAL with masks from the start over DARK. No paper makes these claims.
        """
        sizes = ("64x48", "128x96")
        udp, hrnet, cal = (
            {size: self._line(table, RowName(f"{family}-w32-{size}", read_by)).by_seed("AP") for size in sizes}
            for table, family, read_by in (("q3", "udp", "unsmoothed"), ("8", "hrnet", None), ("8", "cal", None))
        )
        gain = {size: _less(udp[size], hrnet[size]) for size in sizes}
        masked = self._line("7", RowName("cal-w32-128x96-one-stage"))
        assert masked.run is not None  # a row with a network is run
        size = masked.run.experiment.method.input_size
        dark = next(
            line for line in self.lines("8") if line.run and line.run.experiment.family == "dark"
            and line.run.experiment.method.input_size == size
        )  # fmt: skip
        return {
            "offsets": [_finding(f"UDP not smoothed over HRNet, {size}", gain[size]) for size in sizes],
            "smaller": [
                _finding("gain of UDP not smoothed, at 64x48 less at 128x96", _less(gain["64x48"], gain["128x96"]))
            ],
            "cal-udp": [_finding(f"CAL over UDP not smoothed, {size}", _less(cal[size], udp[size])) for size in sizes],
            "cal-dark": [
                _finding(
                    f"CAL with masks from the start over DARK, {size[0]}x{size[1]}",
                    _less(masked.by_seed("AP"), dark.by_seed("AP")),
                )
            ],
        }

    def show_beside(self) -> None:
        """Show these as a table, and what is to be known of CAL over DARK before anything is concluded from it."""
        body = [
            [item.contrast.label, *verdicts.figures(item)[1:]]
            for items in self.beside().values()
            for item in items
            if item.ours
        ]
        if body:
            title = f"Beside the claims, not in their place: differences in points of AP, preset {self.preset}"
            show_table(["contrast", *verdicts.HEADERS[3:]], body, title)
        if note := self.cal_over_dark():
            say(note)

    def late_gain(self, network: str) -> float | None:
        """Points of AP won in the last third of the epochs at full rate by a network of table 8, mean over seeds."""
        line = self._line("8", RowName(network))
        gains = []
        for record in line.records:
            drop = record["settings"]["training"]["milestones"][0]
            looks = [(point["epoch"], 100 * point["AP"]) for point in record["figures"].get("curve", ())]
            full, early = ([ap for epoch, ap in looks if epoch <= end] for end in (drop, 2 * drop / 3))
            if early:
                gains.append(full[-1] - early[-1])
        return statistics.fmean(gains) if gains else None

    def cal_over_dark(self) -> str | None:
        """What the figures say of CAL over DARK at 64x48 besides the verdict; None where nothing has been measured.

        Whether both had finished learning, what more people and mini-batches do, and masks from the start.
        """
        (low, *_) = self.findings(CLAIMS["cal-dark"].contrasts)
        if not low.ours:
            return None
        parts = [f"**Beside *CAL beats DARK* at 64x48 ({_at_length(low)}).**"]
        cal, dark = (self.late_gain(f"{family}-w32-64x48") for family in ("cal", "dark"))
        if cal is not None and dark is not None:
            # CAL went on, and further than DARK; a look at few people is good to half a point
            unfinished = cal > 1 and cal > dark + 0.5
            parts.append(
                f"In the last third of its epochs at the full rate CAL won {_signed(cal)} points, DARK {_signed(dark)}"
                + (": CAL had not finished learning." if unfinished else ".")
            )
        parts += self._with_more_people()
        (masked,) = self.beside()["cal-dark"]
        if masked.ours:
            size = masked.contrast.label.rpartition(" ")[2]
            parts.append(
                f"With masks from the start, CAL over DARK at {size}: {_at_length(masked)} ({masked.verdict})."
            )
        return " ".join(parts)

    def _with_more_people(self) -> list[str]:
        """What CAL over DARK becomes with more people, a sentence; nothing where it was not measured."""
        file = RESULTS / "ch15_more_people.json"
        if self.preset != "laptop" or not file.exists():
            return []
        record = read(file)
        runs = (record["figures"].get(family, {}) for family in ("cal", "dark"))
        more = _less(*({int(seed): 100 * run["AP"]["val2017"] for seed, run in found.items()} for found in runs))
        few = _less(*(self._line("8", RowName(f"{family}-w32-64x48")).by_seed("AP") for family in ("cal", "dark")))
        common = more.keys() & few.keys()
        if not common:
            return []
        after, before = (statistics.fmean(found[seed] for seed in common) for found in (more, few))
        turned = "the sign turns" if after * before < 0 else "the sign stays"
        seeds = "1 seed" if len(common) == 1 else f"{len(common)} seeds"
        no_verdict = ", no verdict" if len(common) < verdicts.SEEDS else ""
        times = record["settings"]
        return [
            f"With {times['times_the_pictures']} times the people and {times['times_the_mini_batches']} times the "
            f"mini-batches {turned}: {after:+.1f} instead of {before:+.1f} ({seeds}{no_verdict})."
        ]

    def _line(self, table: str, row: RowName) -> Line:
        """A table's row of this name."""
        return verdicts.line_of(row, table, self.lines(table))


def outcome(named: Sequence[tuple[str, Finding]]) -> str:
    """One sentence per verdict on what came out: what a table says, in words.

    >>> three, one = (verdicts.judge(Contrast("", "8", (), ()), None, found) for found in ((1.0, 1.1, 0.9), (1.0,)))
    >>> outcome([("A over B", three), ("A over C", one)])
    'Seen: A over B (+1.0). Too few seeds: A over C (+1.0, 1 seed).'
    """
    sentences = []
    for verdict in ("seen", "contrary", "not seen", "too few seeds"):
        which = [f"{name} ({_in_short(item)})" for name, item in named if item.verdict == verdict]
        if which:
            sentences.append(f"{verdict.capitalize()}: {'; '.join(which)}.")
    missing = sum(item.verdict == "not run" for _, item in named)
    if missing:
        sentences.append(f"Not run: {missing} of {len(named)}.")
    return " ".join(sentences)


def _in_short(item: Finding) -> str:
    """The mean, how many seeds if they are few, and where the paper's figure lies if zero is in the interval."""
    text = _signed(statistics.fmean(item.ours))
    if item.interval is None or item.verdict == "too few seeds":
        return f"{text}, {len(item.ours)} seed{'s' * (len(item.ours) > 1)}"
    low, high = item.interval
    if item.verdict == "not seen" and item.paper is not None:
        too = "also" if low <= item.paper <= high else "not"
        text += f"; the interval holds zero and {too} the paper's {item.paper:+.1f}"
    return text


def _at_length(item: Finding) -> str:
    """The mean with its interval."""
    if item.interval is None:
        return _in_short(item)
    return f"{_signed(statistics.fmean(item.ours))}, 95 % interval {item.interval[0]:+.1f} to {item.interval[1]:+.1f}"


def _signed(points: float) -> str:
    """With one decimal and a sign, and no minus before zero."""
    return f"{round(points, 1) + 0:+.1f}"


def _less(plus: dict[int, float], minus: dict[int, float]) -> dict[int, float]:
    """Differences of the seeds that both have."""
    return {seed: plus[seed] - minus[seed] for seed in sorted(plus.keys() & minus.keys())}


def _finding(label: str, found: dict[int, float]) -> Finding:
    """Differences by seed, judged by the rule of the claims."""
    return verdicts.judge(Contrast(label, "", (), ()), None, tuple(found.values()))


def _tells(head: str, column: list[object]) -> bool:
    """Whether a column has anything to say: some cell is filled, and not all networks are the same."""
    if head in _IN_FILES_ONLY or all(cell is None for cell in column):
        return False
    return head != "paper's network" or len(set(column)) > 1
