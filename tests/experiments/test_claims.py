"""What the papers claim, and the rule by which our rows say so."""

import pytest
from row_files import write_rows

from calbook import experiments, results
from calbook.experiments import claims, reports, verdicts
from calbook.experiments.claims import CLAIMS, Claim, Contrast, RowName
from calbook.experiments.running import jobs_of, settings_of
from calbook.experiments.verdicts import findings, mean_interval

LOW = "cal-w32-128x96"
MASK = CLAIMS["mask"]


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=lambda claim: claim.name)
def test_every_claim_names_rows_that_its_table_has_and_the_paper_prints(claim: Claim, tmp_path):
    for item in findings(claim.contrasts, "laptop", tmp_path):
        assert item.paper is not None
        assert item.verdict == "not run"
        assert item.ours == ()


@pytest.mark.parametrize("question", claims.ANSWERS)
def test_every_question_that_is_trained_for_has_contrasts_of_its_own_rows(question, tmp_path):
    networks = {row.experiment.name for row in experiments.table(question).rows}
    for item in claims.ANSWERS[question]:
        assert item.table == question
        assert {row.network for row in item.plus + item.minus} <= networks
    assert all(item.verdict == "not run" for item in findings(claims.ANSWERS[question], "laptop", tmp_path))


def test_a_network_that_is_not_trained_counts_the_same_for_every_seed(tmp_path):
    question = Contrast("", "q2", (RowName("perfect-64x48", "quarter-shift"),), (RowName("hrnet-w32-64x48"),))
    write_rows(tmp_path, "q2", {"perfect-64x48": [0.8], "hrnet-tiny-64x48": [0.3, 0.2, 0.4]}, "quarter-shift")
    (item,) = findings((question,), "smoke", tmp_path)
    assert item.ours == pytest.approx((50.0, 60.0, 40.0))


def test_networks_that_are_not_trained_differ_once(tmp_path):
    contrast = Contrast("", "q1", (RowName("perfect-64x48", "cal"),), (RowName("perfect-64x48", "argmax"),))
    (item,) = findings((contrast,), "smoke", tmp_path)
    assert item.verdict == "not run"
    (job,) = jobs_of("q1", "smoke", [0], ["perfect-64x48"])
    figures = {"evaluations": {"cal": {"AP": 0.9}, "argmax": {"AP": 0.7}}}
    results.write(
        job.file(tmp_path), experiment="table row", settings=settings_of(job), figures=figures, seconds=1.0,
        command=job.command,
    )  # fmt: skip
    (item,) = findings((contrast,), "smoke", tmp_path)
    assert (item.ours, item.verdict) == (pytest.approx((20.0,)), "too few seeds")


def test_a_seed_without_a_figure_takes_no_other_seeds_place(tmp_path):
    """COCO's figures are -1 where no person has the size asked for."""
    write_rows(tmp_path, "8", {"udp-tiny-64x48": [0.5, -1.0, 0.4], "hrnet-tiny-64x48": [0.2, 0.3, 0.3]})
    contrast = Contrast("", "8", (RowName("udp-w32-64x48"),), (RowName("hrnet-w32-64x48"),))
    (item,) = findings((contrast,), "smoke", tmp_path)
    assert item.ours == pytest.approx((30.0, 10.0))


def test_records_are_in_the_order_of_their_seeds(tmp_path):
    """Not in that of their files' names, where seed 10 comes before seed 2."""
    write_rows(tmp_path, "8", {"udp-tiny-64x48": [seed / 100 for seed in range(12)]})
    line = next(line for line in reports.lines_of("8", "smoke", tmp_path) if line.records)
    assert line.ours("AP") == pytest.approx(list(range(12)))


def test_the_papers_own_figures_bear_its_claims_out(tmp_path):
    """Or else the claim, or the row, is not the one that the paper means."""
    for claim in CLAIMS.values():
        for item in findings(claim.contrasts, "paper", tmp_path):
            assert (item.paper or 0) > 0, item.contrast.label


@pytest.mark.parametrize(
    ("masked", "disk", "verdict"),
    [
        ([0.60, 0.62, 0.61], [0.50, 0.52, 0.51], "seen"),
        ([0.50, 0.52, 0.51], [0.60, 0.62, 0.615], "contrary"),
        ([0.50, 0.60, 0.55], [0.55, 0.50, 0.56], "not seen"),
        ([0.60, 0.62], [0.50, 0.52, 0.51], "too few seeds"),
        ([], [0.50, 0.52, 0.51], "not run"),
    ],
)
def test_verdicts_are_taken_seed_by_seed(tmp_path, masked, disk, verdict):
    (name, control) = (experiments.get(part).at("smoke", halved=True).name for part in (LOW, f"{LOW}-disk"))
    write_rows(tmp_path, "3", {name: masked, control: disk})
    (item,) = findings(MASK.contrasts, "smoke", tmp_path)
    assert item.verdict == verdict
    assert item.ours == pytest.approx([100 * (a - b) for a, b in zip(masked, disk, strict=False)])
    shown = verdicts.cells({"mask": [item]})
    assert [len(row) for row in shown] == [len(verdicts.HEADERS)]
    assert shown[0][-1] == verdict


def test_a_gain_of_gains_is_a_sum_of_four_rows(tmp_path):
    names = [f"{family}-tiny-64x48" for family in ("udp", "hrnet")]
    write_rows(tmp_path, "8", dict(zip(names, [[0.5, 0.6, 0.4], [0.2, 0.3, 0.2]], strict=True)))
    contrast = Contrast("twice", "8", (RowName("udp-w32-64x48"),) * 2, (RowName("hrnet-w32-64x48"),) * 2)
    (item,) = findings((contrast,), "smoke", tmp_path)
    assert item.ours == pytest.approx((60.0, 60.0, 40.0))


def test_the_interval_is_student_s():
    low, high = mean_interval((1.0, 2.0, 3.0, 4.0))  # t(0.975, 3) = 3.18245, standard error 0.645497
    assert (low, high) == pytest.approx((2.5 - 2.054260, 2.5 + 2.054260), abs=1e-5)
    assert mean_interval((1.0,)) is None


def test_a_row_that_its_table_does_not_have_is_named():
    with pytest.raises(ValueError, match="table 3 has no row of hrnet-w32-64x48"):
        findings((Contrast("", "3", (RowName("hrnet-w32-64x48"),), ()),), "smoke")
