"""What a chapter shows of results files: tables, claims, contrasts, and what is missing of them."""

import pytest
from row_files import write_rows

from calbook import results_page
from calbook.experiments import claims
from calbook.results_page import ResultsPage

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
    sentence, (heads, rows, _) = shown
    assert sentence == "**The claim** (Table 3). A mixed Gaussian mask beats the disk."
    assert dict(zip(heads, rows[0], strict=True)) == {
        "where": "mixed Gaussian over disk",
        "paper": "+1.0",
        "ours": "+10.0",
        "95 % interval": "+10.0 to +10.0",
        "seeds": 3,
        "verdict": "seen",
    }


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
