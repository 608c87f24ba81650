"""Parameter counts and multiply-adds against the published ones."""

from typing import Any

import pytest
import torch
from torch import nn

from calbook.models import build_model, count

# Input size -> 10^9 multiply-adds and the papers' "GFLOPs" (2^30), measured on the published implementations.
Work = dict[tuple[int, int], tuple[float, float | None]]
COSTS: list[tuple[str, dict[str, Any], int, Work]] = [
    ("hrnet-w32", {}, 28_536_113, {(128, 96): (1.911, 1.780), (384, 288): (17.201, 16.020)}),
    ("hrnet-w48", {}, 63_595_745, {(128, 96): (3.923, 3.654)}),
    ("hrnet-w32", {"input_size": (64, 48)}, 12_802_417, {(64, 48): (0.429, 0.400)}),
    ("hrnet-w48", {"input_size": (64, 48)}, 28_207_937, {(64, 48): (0.871, 0.811)}),
    ("udp-hrnet-w32", {}, 28_589_811, {(128, 96): (1.921, 1.789)}),
    ("udp-hrnet-w48", {}, 63_711_603, {(384, 288): (35.474, 33.038)}),
    ("udp-hrnet-w32", {"branches": 3}, 12_831_347, {(64, 48): (0.431, 0.402)}),
    ("udp-hrnet-w48", {"branches": 3}, 28_268_211, {(64, 48): (0.875, 0.815)}),
    ("cal-hrnet-w32", {}, 49_314_131, {(128, 96): (2.697, 2.512)}),
    ("cal-hrnet-w48", {}, 110_322_435, {(128, 96): (5.691, 5.300)}),
    ("cal-hrnet-w32", {"branches": 3}, 17_846_739, {(64, 48): (0.577, 0.537)}),
    ("cal-hrnet-w48", {"branches": 3}, 39_546_819, {(64, 48): (1.203, 1.120)}),
    ("cal-hrnet-w48", {"head_blocks": 1}, 110_239_107, {(384, 288): (50.646, 47.168)}),
    ("cal-hrnet-w48", {"offset_width": 144}, 117_211_683, {(128, 96): (9.379, 8.735)}),
    ("simple-baseline-r50", {}, 33_999_697, {(128, 96): (1.357, 2.248)}),
    ("simple-baseline-r101", {}, 52_991_825, {(256, 192): (9.063, 12.378)}),
    ("simple-baseline-r152", {}, 68_635_473, {(384, 288): (28.573, 35.47)}),
    ("mrheatnet1-r50", {}, 34_017_785, {(256, 192): (5.44, None)}),
    ("mrheatnet2-r50", {}, 34_022_409, {(256, 192): (5.44, None)}),
    ("mrfeanet1-r50", {}, 41_341_265, {(256, 192): (8.65, None)}),
    ("mrfeanet2-r50", {}, 80_141_137, {(256, 192): (13.68, None)}),
]


@pytest.mark.parametrize(("name", "options", "parameters", "work"), COSTS)
def test_parameters_and_multiply_adds_equal_the_published_networks(
    name: str, options: dict[str, Any], parameters: int, work: Work
) -> None:
    with torch.device("meta"):  # shapes without numbers
        model = build_model(name, **options)
    for size, (macs, published) in work.items():
        cost = count(model, size)
        assert cost.parameters == parameters
        assert cost.macs / 1e9 == pytest.approx(macs, abs=0.006)
        if published is not None:
            assert cost.published_giga == pytest.approx(published, abs=0.006)


def test_a_transposed_convolution_works_on_its_input_pixels() -> None:
    layer = nn.ConvTranspose2d(3, 5, kernel_size=4, stride=2, padding=1, bias=False)
    cost = count(layer, (6, 4))
    assert cost.macs == 3 * 5 * 16 * 24  # each of 6 x 4 input pixels meets each weight once
    assert cost.published_macs == 4 * cost.macs


def test_counting_leaves_the_network_as_it_was() -> None:
    model = build_model("hrnet-tiny")
    model.trunk.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    count(model, (64, 48))
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())
