"""Names, options and what is said about wrong ones."""

import pytest
import torch

from calbook.models import build_model, model_names
from calbook.models.hrnet import TABLES, Stage, Table, fit_table


def test_the_promised_names_exist() -> None:
    promised = {f"{kind}-{size}" for kind in ("hrnet", "cal-hrnet", "udp-hrnet") for size in ("w32", "w48", "tiny")}
    promised |= {f"offset-hrnet-{size}" for size in ("w32", "w48", "tiny")}
    kinds = ("simple-baseline", "mrheatnet1", "mrheatnet2", "mrfeanet1", "mrfeanet2")
    promised |= {f"{kind}-{depth}" for kind in kinds for depth in ("r50", "r101", "r152")}
    assert promised <= set(model_names())


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("hrnet-w23", "hrnet-w32"), ("CAL-HRNet-W48", "cal-hrnet-w48"), ("mrfeanet1-50", "mrfeanet1-r50")],
)
def test_an_unknown_name_lists_the_known_and_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"unknown model '{name}', did you mean '{nearest}'") as refusal:
        build_model(name)
    assert all(known in str(refusal.value) for known in model_names())


def test_unknown_options_are_named() -> None:
    with pytest.raises(TypeError, match=r"'hrnet-tiny' has no option 'head_blocks'; it has .*branches"):
        build_model("hrnet-tiny", head_blocks=1)
    with pytest.raises(TypeError, match="'simple-baseline-r18' has no option 'branches'; it has imagenet, input_size"):
        build_model("simple-baseline-r18", branches=3)
    with pytest.raises(ValueError, match="num_joints must be at least 1"):
        build_model("hrnet-tiny", num_joints=0)


def test_the_input_size_chooses_the_branches() -> None:
    published = TABLES["w32"]
    assert fit_table(published).stage4.widths == (32, 64, 128, 256)
    assert fit_table(published, input_size=(128, 96)).stage4.widths == (32, 64, 128, 256)
    assert fit_table(published, input_size=(64, 48)).stage4.widths == (32, 64, 128)
    assert fit_table(published, branches=3, input_size=(128, 96)).stage4.widths == (32, 64, 128)
    assert (fit_table(published).divisor, fit_table(published, branches=3).divisor) == (32, 16)


def test_sizes_and_branches_that_cannot_be_are_refused_when_building() -> None:
    with pytest.raises(ValueError, match=r"input size 60x48: .*multiples of 16.*nearest such size is 64x48"):
        build_model("hrnet-w32", input_size=(60, 48))
    with pytest.raises(ValueError, match=r"input size 64x48: .*multiples of 32"):
        build_model("cal-hrnet-w32", input_size=(64, 48), branches=4)
    with pytest.raises(ValueError, match="stage 4 has 3 to 4 branches, not 5"):
        build_model("hrnet-w32", branches=5)
    with pytest.raises(ValueError, match=r"input size 64x48: .*multiples of 32"):
        build_model("simple-baseline-r50", input_size=(64, 48))


def test_a_table_of_your_own() -> None:
    """The constructor is the same for every size: here two modules, one block, an uneven width."""
    from calbook.models.hrnet import HRNet

    table = Table(
        stage2=Stage(modules=2, widths=(6, 10), blocks=1),
        stage3=Stage(modules=1, widths=(6, 10, 12), blocks=1),
        stage4=Stage(modules=2, widths=(6, 10, 12, 20), blocks=1),
        stem=8,
        planes=4,
        bottlenecks=2,
    )
    maps = HRNet(table, num_joints=3, offsets=True, widening=2)(torch.randn(2, 3, 32, 64))
    assert maps.offsets is not None
    assert maps.offsets.shape == (2, 3, 2, 8, 16)
