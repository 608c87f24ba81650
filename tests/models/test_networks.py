"""What every network must do, whatever it is: tried on the small ones."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from calbook.models import build_model, fast_inference, model_names
from calbook.models.blocks import initialize
from calbook.models.cal_hrnet import CALHRNet
from calbook.models.folding import FusedConv2d
from calbook.poses import PoseMaps

TINY_HRNETS = ["hrnet-tiny", "cal-hrnet-tiny", "udp-hrnet-tiny", "offset-hrnet-tiny"]
SMALL_RESNETS = [f"{kind}-r18" for kind in ("simple-baseline", "mrheatnet1", "mrheatnet2", "mrfeanet1", "mrfeanet2")]
SMALL = TINY_HRNETS + SMALL_RESNETS


def size_for(name: str) -> tuple[int, int]:
    return (64, 48) if "tiny" in name else (64, 64)


def trained_a_little(name: str, num_joints: int = 5) -> nn.Module:
    """A network whose batch norms have seen data and whose outputs are not tiny; in evaluation mode."""
    torch.manual_seed(0)
    model = build_model(name, num_joints, initialization="he")
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.2)
        elif isinstance(part, nn.Conv2d) and part.bias is not None:
            nn.init.normal_(part.weight, std=0.1)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(4, 3, *size_for(name)))
    return model.eval()


def loss_of(maps: PoseMaps) -> Tensor:
    loss = ((maps.heatmaps - 1) ** 2).mean()
    return loss if maps.offsets is None else loss + (maps.offsets - 1).abs().mean()


def assert_maps_close(actual: PoseMaps, expected: PoseMaps, tolerance: float) -> None:
    """Largest difference relative to the largest value."""
    assert (actual.offsets is None) == (expected.offsets is None)
    for ours, theirs in zip(actual, expected, strict=True):
        if theirs is not None:
            error = (ours.double() - theirs.double()).abs().max() / theirs.double().abs().max()
            assert error <= tolerance


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("num_joints", [1, 14])
def test_shapes(name: str, num_joints: int) -> None:
    height, width = size_for(name)
    model = build_model(name, num_joints, input_size=(height, width)).eval()
    with torch.inference_mode():
        maps = model(torch.randn(1, 3, height, width))
    assert maps.heatmaps.shape == (1, num_joints, height // 4, width // 4)
    if name.startswith(("cal", "udp", "offset")):
        assert maps.offsets.shape == (1, num_joints, 2, height // 4, width // 4)
    else:
        assert maps.offsets is None


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_gets_a_finite_gradient(name: str) -> None:
    """In training mode, in both memory layouts; the published MRHeatNet1 cannot do this."""
    model = build_model(name, 5, initialization="he")
    images = torch.randn(2, 3, *size_for(name))
    for layout in (torch.contiguous_format, torch.channels_last):
        model.zero_grad()
        loss_of(model.to(memory_format=layout)(images)).backward()
        for key, parameter in model.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
            assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", SMALL)
def test_outputs_do_not_depend_on_the_batch(name: str) -> None:
    model = trained_a_little(name).double()  # so that only a true dependence can show
    images = torch.randn(3, 3, *size_for(name), dtype=torch.float64)
    with torch.inference_mode():
        together = model(images)
        alone = [model(image[None]) for image in images]
        reversed_order = model(images.flip(0))
    for k, maps in enumerate(together):
        if maps is not None:
            torch.testing.assert_close(torch.cat([single[k] for single in alone]), maps, rtol=0, atol=1e-10)
            torch.testing.assert_close(reversed_order[k].flip(0), maps, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_layouts_and_precisions_agree(name: str) -> None:
    model = trained_a_little(name)
    images = torch.randn(2, 3, *size_for(name))
    with torch.inference_mode():
        exact = copy.deepcopy(model).double()(images.double())
        assert exact.heatmaps.dtype == torch.float64
        assert_maps_close(model(images), exact, 1e-4)
        side_by_side = copy.deepcopy(model).to(memory_format=torch.channels_last)
        assert_maps_close(side_by_side(images.to(memory_format=torch.channels_last)), exact, 1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = model(images)
        assert coarse.heatmaps.dtype == torch.bfloat16
        assert_maps_close(coarse, exact, 0.08)


@pytest.mark.parametrize("name", SMALL)
def test_fast_inference_predicts_the_same(name: str) -> None:
    model = trained_a_little(name)
    images = torch.randn(3, 3, *size_for(name))
    with torch.inference_mode():
        expected = model(images)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fast = fast_inference(model)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in fast.modules())
    assert_maps_close(fast(images), expected, 1e-4)
    assert_maps_close(fast(images[:1]), PoseMaps(*(None if m is None else m[:1] for m in expected)), 1e-4)
    coarse = fast_inference(model, "bfloat16")(images)
    assert coarse.heatmaps.dtype == torch.float32
    assert_maps_close(coarse, expected, 0.08)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_fast_inference_without_fused_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the processor or the build of PyTorch has none, batch norms are still folded."""
    monkeypatch.setattr("calbook.models.folding._onednn_can_fuse", lambda device, dtype: False)
    model = trained_a_little("cal-hrnet-tiny")
    images = torch.randn(2, 3, 64, 48)
    fast = fast_inference(model)
    assert not any(isinstance(part, FusedConv2d | nn.BatchNorm2d) for part in fast.modules())
    with torch.inference_mode():
        assert_maps_close(fast(images), model(images), 1e-4)


def test_fast_inference_draws_sums_and_rectifiers_in() -> None:
    fast = fast_inference(trained_a_little("hrnet-tiny"))
    kinds = [type(part) for part in fast.modules()]
    targets = [node.target for node in fast.graph.graph.nodes if node.op == "call_function"]
    assert FusedConv2d in kinds
    assert nn.Conv2d not in kinds
    # What is left: sums of the exchange units, whose summands are upsampled after their convolutions.
    assert sum(getattr(target, "__name__", "") in ("add", "iadd") for target in targets) < 10


def test_fast_inference_says_what_it_cannot_do() -> None:
    model = trained_a_little("hrnet-tiny")
    with pytest.raises(ValueError, match="unknown precision 'float16'"):
        fast_inference(model, "float16")
    with pytest.raises(RuntimeError, match="cannot be trained"):
        fast_inference(model).train()
    with pytest.raises(ValueError, match="multiples of 16"):
        fast_inference(model)(torch.zeros(1, 3, 60, 48))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cal-hrnet-tiny", "mrheatnet1-r18"])
def test_torch_compile(name: str) -> None:
    """One graph without breaks, forward and backward (the compiler for CPUs is not needed for that)."""
    model = trained_a_little(name)
    images = torch.randn(2, 3, *size_for(name))
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_maps_close(compiled(images), model(images), 1e-4)
    loss_of(compiled(images)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("hrnet-w32", (64, 48), "multiples of 32.*nearest such size is 64x64.*branches=3"),
        ("cal-hrnet-w32", (120, 96), "multiples of 32.*nearest such size is 128x96"),
        ("hrnet-tiny", (64, 50), "multiples of 16.*nearest such size is 64x48; resize or pad the pictures$"),
        ("simple-baseline-r18", (64, 48), "multiples of 32"),
        ("mrfeanet1-r18", (64, 48), "multiples of 32"),
        ("mrheatnet2-r18", (65, 64), "multiples of 32"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_the_reason(name: str, size: tuple[int, int], words: str) -> None:
    with torch.device("meta"):
        model = build_model(name)
    with pytest.raises(ValueError, match=f"input size {size[0]}x{size[1]}.*{words}"):
        model(torch.zeros(1, 3, *size, device="meta"))


@pytest.mark.parametrize("shape", [(3, 64, 48), (1, 1, 64, 48), (1, 64, 48, 3)])
def test_what_is_no_batch_of_colour_pictures_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected pictures of shape \(B, 3, H, W\)"):
        build_model("hrnet-tiny")(torch.zeros(shape))


@pytest.mark.parametrize("name", ["hrnet-tiny", "cal-hrnet-tiny", "simple-baseline-r18", "mrheatnet1-r18"])
def test_maps_leave_in_the_contiguous_layout(name: str) -> None:
    """Inside, channels lie side by side; outside, ``heatmaps.view(B, K, -1)`` must work."""
    for network in (build_model(name), fast_inference(build_model(name))):
        maps = network(torch.randn(2, 3, *size_for(name)))
        assert maps.heatmaps.is_contiguous()
        assert maps.offsets is None or maps.offsets.is_contiguous()


def test_unusual_sizes_that_divide_work() -> None:
    model = build_model("cal-hrnet-tiny").eval()
    with torch.inference_mode():
        for size in ((16, 16), (16, 80), (112, 48)):
            assert model(torch.zeros(2, 3, *size)).heatmaps.shape[-2:] == (size[0] // 4, size[1] // 4)


def test_offsets_come_interleaved_x_then_y() -> None:
    """Channel 2k of CAL's offset branch is x of joint k; UDP's channels are class, dx, dy per joint."""
    cal, udp = build_model("cal-hrnet-tiny", 3).eval(), build_model("udp-hrnet-tiny", 3).eval()
    for layer in (cal.offset_branch.predict, udp.prediction.predict):
        nn.init.zeros_(layer.weight)
        layer.bias.data = torch.arange(float(len(layer.bias)))
    images = torch.zeros(1, 3, 64, 48)
    with torch.inference_mode():
        assert cal(images).offsets[0, :, :, 0, 0].tolist() == [[0, 1], [2, 3], [4, 5]]
        assert udp(images).heatmaps[0, :, 0, 0].tolist() == [0, 3, 6]
        assert udp(images).offsets[0, :, :, 0, 0].tolist() == [[1, 2], [4, 5], [7, 8]]


def test_the_two_branches_of_cal_share_the_trunk_and_nothing_else() -> None:
    model = build_model("cal-hrnet-tiny", 3, initialization="he")
    assert isinstance(model, CALHRNet)
    maps = model(torch.randn(2, 3, 64, 48))
    (maps.offsets**2).mean().backward()
    assert all(p.grad is None for p in model.heatmap_branch.parameters())
    assert all(p.grad is not None for p in model.trunk.parameters())


@pytest.mark.parametrize("name", ["hrnet-tiny", "cal-hrnet-tiny"])
def test_tiny_networks_learn_where_a_blob_is(name: str) -> None:
    """From the published initialization, with the heatmap loss, in 40 small steps."""
    torch.manual_seed(0)
    model = build_model(name, num_joints=1, input_size=(64, 48))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        cells = torch.randint(2, 10, (8, 2))  # (y, x) on the 16 x 12 heatmap
        targets = torch.stack(
            [torch.zeros(1, 16, 12).index_put((torch.tensor(0), y, x), torch.tensor(1.0)) for y, x in cells]
        )
        targets = F.avg_pool2d(targets, 3, stride=1, padding=1) * 9  # a disk of ones
        images = F.interpolate(targets, scale_factor=4.0).expand(-1, 3, -1, -1) + 0.1 * torch.randn(8, 3, 64, 48)
        loss = ((model(images).heatmaps - targets) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])


def test_initializations() -> None:
    published, he = build_model("hrnet-w32", initialization="published"), build_model("hrnet-w32", initialization="he")
    for model, expected in ((published, 0.001), (he, (2 / (32 * 9)) ** 0.5)):
        weight = model.trunk.stage3[0].branches[0][0].conv1.weight
        assert weight.std().item() == pytest.approx(expected, rel=0.05)
        assert model.prediction.predict.weight.std().item() == pytest.approx(0.001, rel=0.2)
        assert model.prediction.predict.bias.abs().max() == 0
    with pytest.raises(ValueError, match="unknown initialization 'xavier'"):
        initialize(published, "xavier")


@pytest.mark.parametrize("name", SMALL)
def test_convolutions_with_a_bias_are_those_that_predict(name: str) -> None:
    """``initialize`` tells them by it."""
    convolutions = {k: m for k, m in build_model(name).named_modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}
    biased = {key for key, layer in convolutions.items() if layer.bias is not None}
    assert biased == {key for key in convolutions if key.split(".")[-1] == "predict" or key.startswith("score")}


def test_an_offset_branch_without_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="offset_width must be at least 1, got 0"):
        build_model("cal-hrnet-tiny", offset_width=0)


def test_small_variants_exist_for_every_family() -> None:
    assert {name.rsplit("-", 1)[0] for name in model_names()} == {name.rsplit("-", 1)[0] for name in SMALL}
    for name in TINY_HRNETS:
        assert 0.4e6 < sum(p.numel() for p in build_model(name).parameters()) < 0.8e6
