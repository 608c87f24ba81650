"""What a chapter shows of results files: tables, claims, contrasts, and what is missing of them."""

from dataclasses import replace

import pytest
from row_files import write_rows

from calbook import results_page
from calbook.experiments import claims, reports, verdicts
from calbook.experiments.claims import CLAIMS
from calbook.results_page import ResultsPage, outcome

MASK = {"cal-tiny-64x48": [0.4, 0.5, 0.6], "cal-tiny-64x48-disk": [0.3, 0.4, 0.5]}


@pytest.fixture
def shown(monkeypatch):
    """What was put on the page: sentences, and tables as (headings, rows, caption)."""
    found = []
    monkeypatch.setattr(results_page, "say", found.append)
    monkeypatch.setattr(results_page, "show_table", lambda *table: found.append(table))
    return found


def test_a_table_leaves_out_what_says_nothing_and_what_is_in_the_files(shown, tmp_path):
    write_rows(tmp_path, "3", MASK)
    ResultsPage("smoke", tmp_path).show_rows("3", "Mask")
    (heads, rows, caption), standing = shown
    assert heads == ["row", "ours", "AP, paper", "AP, ours", "seeds"]
    assert caption == "Table 3. Mask (preset smoke, %)"
    assert {row[1]: row[3:] for row in rows} == {
        "cal-tiny-64x48": ["50.0 ± 10.0", 3],
        "cal-tiny-64x48-disk": ["40.0 ± 10.0", 3],
    }
    assert standing == "*Table 3, preset `smoke`: all 2 networks have been run with 3 seeds or more.*"


def test_a_table_names_the_papers_networks_where_they_differ(shown, tmp_path):
    ResultsPage("smoke", tmp_path).show_rows("8")
    heads, rows, _ = shown[0]
    assert "paper's network" in heads
    assert "AP, ours" in heads, "ours keeps its place where there is nothing yet"
    assert {row[heads.index("AP, ours")] for row in rows} == {None}


def test_few_seeds_are_missing_only_of_trained_networks(tmp_path):
    write_rows(tmp_path, "3", {"cal-tiny-64x48": [0.4, 0.5]})
    page = ResultsPage("smoke", tmp_path)
    assert "of 2 networks 1 not run yet and 1 with fewer than 3 seeds." in page.standing("3")
    write_rows(
        tmp_path, "q1", {f"perfect-{size}": [0.9] for size in ("384x288", "256x192", "128x96", "64x48", "32x24")}
    )
    assert "networks have been run.*" in page.standing("q1")


def test_records_are_those_of_the_tables_that_were_read(tmp_path):
    write_rows(tmp_path, "3", MASK)
    page = ResultsPage("smoke", tmp_path)
    assert page.records == {}
    assert page.lines("3") is page.lines("3")
    assert set(page.records) == {(network, seed) for network in MASK for seed in range(3)}


def test_a_claim_is_worded_and_judged(shown, tmp_path):
    write_rows(tmp_path, "3", MASK)
    ResultsPage("smoke", tmp_path).show_claims("mask")
    sentence, (heads, rows, _), came_out = shown
    assert came_out == "**Outcome.** Seen: mixed Gaussian over disk (+10.0)."
    assert sentence == "**The claim** (Table 3). A mixed Gaussian mask beats the disk."
    assert dict(zip(heads, rows[0], strict=True)) == {
        "where": "mixed Gaussian over disk",
        "paper": "+1.0",
        "ours": "+10.0",
        "95 % interval": "+10.0 to +10.0",
        "seeds": 3,
        "verdict": "seen",
    }


def test_each_table_is_read_once(shown, tmp_path, monkeypatch):
    read = []

    def lines_of(name, *where):
        read.append(name)
        return reports.lines_of(name, *where)

    monkeypatch.setattr(results_page, "lines_of", lines_of)
    monkeypatch.delattr(verdicts, "lines_of")  # nobody reads it elsewhere
    page = ResultsPage("smoke", tmp_path)
    page.show_rows("8")
    page.show_claims("offsets", "cal-dark", "mask")
    page.show_beside()
    page.show_contrasts("Smoothing", claims.ANSWERS["q3"])
    assert sorted(read) == ["3", "7", "8", "q3"]


def test_contrasts_without_rows_are_counted(shown, tmp_path):
    question = claims.ANSWERS["q6"]
    ResultsPage("smoke", tmp_path).show_contrasts("Losses", question)
    assert shown == ["*Losses: 4 of 4 contrasts have no rows at preset `smoke`.*"]
    write_rows(tmp_path, "q6", {"cal-tiny-64x48": [0.4, 0.5, 0.6], "cal-tiny-64x48-l2": [0.3, 0.4, 0.5]})
    shown.clear()
    ResultsPage("smoke", tmp_path).show_contrasts("Losses", question)
    (heads, rows, caption), missing = shown
    assert rows == [["mixed Gaussian: L1 over L2", "+10.0", "+10.0 to +10.0", 3, "seen"]]
    assert heads == ["contrast", "ours", "95 % interval", "seeds", "verdict"]
    assert caption == "Losses: differences in points of AP, preset smoke"
    assert missing == "*Losses: 3 of 4 contrasts have no rows at preset `smoke`.*"


def test_an_outcome_says_where_the_papers_figure_lies(tmp_path):
    write_rows(tmp_path, "3", MASK | {"cal-tiny-64x48-disk": [0.39, 0.51, 0.6]})
    (item,) = verdicts.findings(CLAIMS["mask"].contrasts, "smoke", tmp_path)
    assert outcome([("the mask", item)]).endswith("; the interval holds zero and also the paper's +1.0).")


def test_contrasts_of_the_same_networks_are_the_same(tmp_path):
    """Question 9's contrast at 64x48 is Table 5's only where the ablations' size is 64x48, too."""
    claim, (question, *_) = CLAIMS["target"].contrasts[0], claims.ANSWERS["q9"]
    for preset, same in (("laptop", True), ("paper", False)):
        page = ResultsPage(preset, tmp_path)
        assert (page.compared(claim) == page.compared(question)) == same
    assert page.has_trained(claim)
    assert [page.has_trained(item) for item in claims.ANSWERS["q2"][:5]] == [True] * 4 + [False]


def test_beside_the_claims_stand_udp_not_smoothed_and_masks_from_the_start(shown, tmp_path):
    page = ResultsPage("smoke", tmp_path)
    page.show_beside()
    assert shown == []
    write_rows(tmp_path, "8", {"dark-tiny-64x48": [0.3, 0.3, 0.3], "cal-tiny-64x48": [0.2, 0.2, 0.2]})
    write_rows(tmp_path, "7", {"cal-tiny-64x48-one-stage": [0.4, 0.5, 0.6]})
    ResultsPage("smoke", tmp_path).show_beside()
    (heads, rows, _), note = shown
    assert heads == ["contrast", "ours", "95 % interval", "seeds", "verdict"]
    assert rows == [["CAL with masks from the start over DARK, 64x48", "+20.0", "-4.8 to +44.8", 3, "not seen"]]
    assert note == (
        "**Beside *CAL beats DARK* at 64x48 (-10.0, 95 % interval -10.0 to -10.0).** "
        "With masks from the start, CAL over DARK at 64x48: +20.0, 95 % interval -4.8 to +44.8 (not seen)."
    )


@pytest.mark.parametrize(
    ("cal", "dark", "unfinished"),
    [(3.0, 0.0, True), (3.0, 2.8, False), (0.1, -0.5, False), (1.0, 0.0, False), (-1.0, -2.0, False)],
)
def test_cal_had_not_finished_where_it_went_on_and_further_than_dark(tmp_path, monkeypatch, cal, dark, unfinished):
    """Not where it stood still while DARK lost something."""
    write_rows(tmp_path, "8", {"dark-tiny-64x48": [0.3], "cal-tiny-64x48": [0.2]})
    gains = {"cal-w32-64x48": cal, "dark-w32-64x48": dark}
    monkeypatch.setattr(ResultsPage, "late_gain", lambda page, network: gains[network])
    note = ResultsPage("smoke", tmp_path).cal_over_dark()
    assert f"CAL won {cal:+.1f} points, DARK {dark:+.1f}" in note
    assert ("CAL had not finished learning" in note) == unfinished


def test_the_last_third_at_the_full_rate_is_measured_on_the_learning_curve(tmp_path):
    page = ResultsPage("smoke", tmp_path)
    assert page.late_gain("cal-w32-64x48") is None
    curve = [{"epoch": epoch, "AP": epoch / 100} for epoch in (5, 20, 25, 30, 35)]
    line = next(line for line in page.lines("8") if line.row.experiment.name == "cal-w32-64x48")
    record = {"settings": {"training": {"milestones": [34, 40]}}, "figures": {"curve": curve}}
    page._lines["8"] = [replace(line, records=(record,))]
    assert page.late_gain("cal-w32-64x48") == pytest.approx(10.0)  # from epoch 20 to epoch 30
