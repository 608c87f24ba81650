"""Published networks: every key has its place, and the forward pass is theirs."""

import io
import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_tensors import golden_tensor
from safetensors.torch import save_file
from torch import Tensor

from calbook.models import build_model, load_reference_weights

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "models"
PUBLISHED = json.loads((GOLDEN / "models.json").read_text())
NAMES = {  # golden name without its size -> ours
    "hrnet_w32": "hrnet-w32",
    "simple_baseline_r50": "simple-baseline-r50",
    "mrheatnet1_r50": "mrheatnet1-r50",
    "mrheatnet2_r50": "mrheatnet2-r50",
    "mrfeanet1_r50": "mrfeanet1-r50",
    "mrfeanet2_r50": "mrfeanet2-r50",
    "cal_w32": "cal-hrnet-w32",
}


def published_weights(golden_name: str) -> dict[str, Tensor]:
    shapes = PUBLISHED[golden_name]["state_dict"]
    return {key: golden_tensor(key, tuple(shape)) for key, shape in shapes.items()}


def tiny_published(prefix: str = "") -> dict[str, Tensor]:
    """A tiny checkpoint in published names: the parts of hrnet-tiny that have simple ones."""
    model = build_model("hrnet-tiny")
    own = model.state_dict()
    names = {
        "conv1.weight": "trunk.stem.0.0.weight",
        "bn1.running_var": "trunk.stem.0.1.running_var",
        "final_layer.weight": "prediction.predict.weight",
        "final_layer.bias": "prediction.predict.bias",
    }
    return {prefix + published: torch.full_like(own[name], 0.5) for published, name in names.items()}


def test_all_golden_networks_are_covered() -> None:
    assert {name.rsplit("_", 1)[0] for name in PUBLISHED} == set(NAMES)


@pytest.mark.parametrize("golden_name", PUBLISHED)
def test_every_published_key_loads_and_the_forward_pass_agrees(golden_name: str) -> None:
    kind = golden_name.rsplit("_", 1)[0]
    model = build_model(NAMES[kind]).eval()
    report = load_reference_weights(model, published_weights(golden_name))
    assert report.complete, str(report)
    assert len(report.loaded) == len(PUBLISHED[golden_name]["state_dict"])
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[golden_name]["parameters"]

    seed = zlib.crc32((golden_name if kind == "cal_w32" else kind).encode())
    images = torch.from_numpy(np.random.RandomState(seed).standard_normal((2, 3, 128, 96)).astype(np.float32))
    with torch.inference_mode():
        maps = model(images)
    expected = np.load(GOLDEN / f"forward_{golden_name}.npz")
    scale = np.abs(expected["out0"]).max()
    np.testing.assert_allclose(maps.heatmaps.numpy(), expected["out0"], rtol=1e-4, atol=1e-4 * scale)
    assert (maps.offsets is None) == ("out1" not in expected)
    if maps.offsets is not None:
        x, y = expected["out1"][:, 0::2], expected["out1"][:, 1::2]  # channel 2k is x of joint k, 2k + 1 its y
        scale = np.abs(expected["out1"]).max()
        np.testing.assert_allclose(maps.offsets[:, :, 0].numpy(), x, rtol=1e-4, atol=1e-4 * scale)
        np.testing.assert_allclose(maps.offsets[:, :, 1].numpy(), y, rtol=1e-4, atol=1e-4 * scale)


def test_imagenet_hrnet_goes_into_cal_as_the_published_code_puts_it() -> None:
    """Shared parts and the heatmap branch are filled; the offset branch and the heads keep their own start."""
    weights = published_weights("hrnet_w32_128x96")
    weights["classifier.weight"] = weights.pop("final_layer.weight")
    model = build_model("cal-hrnet-w32")
    report = load_reference_weights(model, weights)
    assert report.unexpected == ("final_layer.bias", "classifier.weight")
    assert len(report.loaded) == 1752
    parts = {".".join(key.split(".")[:2]) for key in report.missing}
    assert parts == {
        "offset_branch.transition3",
        "offset_branch.stage4",
        "offset_branch.head_blocks",
        "offset_branch.predict",
        "heatmap_branch.head_blocks",
        "heatmap_branch.predict",
    }


def test_udp_takes_hrnet_weights_but_for_the_widened_fusion() -> None:
    weights = {k: torch.zeros(v) for k, v in PUBLISHED["hrnet_w32_128x96"]["state_dict"].items()}
    model = build_model("udp-hrnet-w32")
    with pytest.raises(ValueError, match=r"stage4\.2\.fuse_layers\.0\.1\.0\.weight"):
        load_reference_weights(model, weights)
    report = load_reference_weights(model, weights, skip=("stage4.2.fuse_layers", "final_layer"))
    assert not report.unexpected
    assert {key.rsplit(".", 1)[0] for key in report.missing} == {
        "prediction.predict",
        "prediction.stage4.2.exchange.paths.0.0.0",
        *(f"prediction.stage4.2.exchange.paths.0.{source}.{part}" for source in (1, 2, 3) for part in (0, 1)),
    }


def test_imagenet_resnet_goes_into_the_trunk() -> None:
    torchvision_keys = {"conv1.weight": torch.full((64, 3, 7, 7), 0.5), "fc.bias": torch.zeros(1000)}
    model = build_model("simple-baseline-r18")
    report = load_reference_weights(model, torchvision_keys)
    assert report.loaded == ("conv1.weight",)
    assert report.unexpected == ("fc.bias",)
    assert (model.trunk.stem[0].weight == 0.5).all()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_prefixes_and_training_checkpoints(tmp_path: Path, prefix: str, wrapped: bool, suffix: str) -> None:
    weights = tiny_published(prefix)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"epoch": 3, "state_dict": weights} if wrapped else weights, path)
    model = build_model("hrnet-tiny")
    report = load_reference_weights(model, path)
    assert set(report.loaded) == set(tiny_published())
    assert (model.prediction.predict.bias == 0.5).all()


class Payload:
    """Something that unpickling would have to run code for."""


def test_only_tensors_are_read(tmp_path: Path) -> None:
    path = tmp_path / "evil.pth"
    torch.save({"conv1.weight": Payload()}, path)
    with pytest.raises(ValueError, match=r"evil\.pth: not a file of tensors"):
        load_reference_weights(build_model("hrnet-tiny"), path)
    for suffix in (".pth", ".safetensors"):
        broken = tmp_path / f"broken{suffix}"
        broken.write_bytes(b"not weights")
        with pytest.raises(ValueError, match="not a file of tensors"):
            load_reference_weights(build_model("hrnet-tiny"), broken)
    with pytest.raises(TypeError, match="'epoch' of the checkpoint is a int"):
        load_reference_weights(build_model("hrnet-tiny"), {"epoch": 3})


def saved(content: object, **options: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


OLD_FORMAT = saved({"conv1.weight": torch.ones(40)}, _use_new_zipfile_serialization=False)
UNREADABLE = {
    "a word": (b"hello", "cut short, damaged or of another kind; copy or download it again"),
    "a dot": (b".", "cut short"),
    "nothing": (b"", "cut short"),
    "half a zip": (saved({"conv1.weight": torch.ones(40)})[:700], "cut short"),
    "a web page": (b"\n<!DOCTYPE html><html>", "it is a web page; download the file itself"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "pointer of Git LFS; fetch"),
    "objects": (saved([Payload()]), "objects that could run code, or is damaged; get its state dict alone"),
    "old objects": (saved([Payload()], _use_new_zipfile_serialization=False), "objects that could run code"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_files_have_one_line_of_our_own(tmp_path: Path, kind: str, suffix: str) -> None:
    content, message = UNREADABLE[kind]
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"w\{suffix}: not a file of tensors: it ") as caught:
        load_reference_weights(build_model("hrnet-tiny"), path)
    assert "\n" not in str(caught.value)
    assert message in str(caught.value) or (suffix == ".safetensors" and "objects" in kind)


def test_an_old_checkpoint_cut_anywhere_is_refused(tmp_path: Path) -> None:
    model = build_model("hrnet-tiny")
    path = tmp_path / "w.pth"
    for length in range(0, len(OLD_FORMAT), 3):
        path.write_bytes(OLD_FORMAT[:length])
        with pytest.raises(ValueError, match=r"w\.pth: not a file of tensors: it "):
            load_reference_weights(model, path)


def test_keys_are_names_and_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({3: torch.zeros(1)}, path)
    with pytest.raises(TypeError, match=r"the key 3 of .*w\.pth is a int, not a parameter's name"):
        load_reference_weights(build_model("hrnet-tiny"), path)
    torch.save({"state_dict": 3}, path)
    with pytest.raises(TypeError, match=r"'state_dict' of .*w\.pth is a int"):
        load_reference_weights(build_model("hrnet-tiny"), path)
    with pytest.raises(FileNotFoundError):
        load_reference_weights(build_model("hrnet-tiny"), tmp_path / "nowhere.pth")


def test_a_shape_that_does_not_fit_is_named_and_nothing_changes() -> None:
    model = build_model("hrnet-tiny", num_joints=14)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"'final_layer\.weight' does not fit: \(17, 16, 1, 1\).*\(14, 16, 1, 1\)"):
        load_reference_weights(model, tiny_published())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    report = load_reference_weights(model, tiny_published(), skip=("final_layer",))
    assert report.skipped == ("final_layer.weight", "final_layer.bias")
    assert load_reference_weights(model, tiny_published(), skip="final_layer") == report
    with pytest.raises(ValueError, match="unknown misfits 'ignore'"):
        load_reference_weights(model, tiny_published(), misfits="ignore")


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match="none of 1 tensors"):
        load_reference_weights(build_model("hrnet-tiny"), {"encoder.weight": torch.zeros(3)})
    with pytest.raises(TypeError, match="no published weights are known for Linear"):
        load_reference_weights(torch.nn.Linear(2, 2), {"weight": torch.zeros(2, 2)})


@pytest.mark.parametrize(
    ("name", "prefix"), [("cal-hrnet-tiny", "head_om.final_layer_om"), ("udp-hrnet-tiny", "final_layer")]
)
def test_the_offset_scale_ends_up_in_the_offsets_and_nowhere_else(name: str, prefix: str) -> None:
    """A network trained on offsets / 1.5 must leave ours in heatmap pixels."""
    images = torch.randn(1, 3, 64, 48, dtype=torch.float64)
    outputs = []
    for scale in (1.0, 1.5):
        torch.manual_seed(0)
        model = build_model(name, initialization="he").double().eval()
        predict = model.offset_branch.predict if name.startswith("cal") else model.prediction.predict
        weights = {
            f"{prefix}.weight": torch.randn_like(predict.weight),
            f"{prefix}.bias": torch.randn_like(predict.bias),
        }
        load_reference_weights(model, weights, offset_scale=scale)
        with torch.inference_mode():
            outputs.append(model(images))
    torch.testing.assert_close(outputs[1].offsets, outputs[0].offsets * 1.5)
    torch.testing.assert_close(outputs[1].heatmaps, outputs[0].heatmaps)


def test_an_offset_scale_needs_offsets() -> None:
    with pytest.raises(ValueError, match="predicts no offsets"):
        load_reference_weights(build_model("hrnet-tiny"), tiny_published(), offset_scale=1.5)
