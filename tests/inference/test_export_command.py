"""``calbook export``, from the command line."""

import builtins

import numpy as np
import pytest
import torch
from typed_commands import one_line, without

from calbook import runs
from calbook.inference import export


class TestExport:
    @pytest.mark.slow
    def test_any_batch_size_and_the_same_maps(self, calbook, run_folder, data_folder, tmp_path):
        onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
        file = tmp_path / "model.onnx"
        status, out, err = calbook("export", run_folder, "--out", file, "--data", data_folder)
        assert (status, err) == (0, "")
        assert f"compared on 8 crops of {data_folder}: " in out
        assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
        metadata = {entry.key: entry.value for entry in onnx.load(str(file)).metadata_props}
        assert metadata["calbook_weights_sha256"] == runs.load(run_folder).weights_hash
        session = runtime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        assert [output.name for output in session.get_outputs()] == ["heatmaps", "offsets"]
        images = torch.rand(5, 3, 64, 48)
        trained = runs.load(run_folder)
        from calbook.inference import predict_maps

        for found, expected in zip(
            session.run(None, {"images": images.numpy()}), predict_maps(trained.model, images), strict=True
        ):
            torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)
        assert calbook("export", run_folder, "--out", file)[0] == 2  # exists already

    def test_maps_that_differ_are_not_left_behind(self, run_folder, tmp_path, monkeypatch):
        monkeypatch.setattr(export, "_write", lambda model, partial, *rest: partial.write_bytes(b""))
        monkeypatch.setattr(export, "_library", lambda *names: FakeOnnx())
        for wrong, outcome in ((0.0, None), (0.01, "differ from the network's by"), (float("nan"), "by inf")):
            FakeOnnx.wrong = wrong
            trained, crops = runs.load(run_folder), torch.rand(3, 3, 64, 48)
            FakeOnnx.model = export._Exported(trained.model)
            if outcome is None:
                assert export.export_onnx(trained, tmp_path / "m.onnx", crops).batches == (1, 2)
                (tmp_path / "m.onnx").unlink()
            else:
                with pytest.raises(ValueError, match=outcome):
                    export.export_onnx(trained, tmp_path / "m.onnx", crops)
                assert not list(tmp_path.iterdir())

    def test_a_split_of_nothing_is_refused(self, calbook, run_folder, tmp_path):
        status, out, err = calbook("export", run_folder, "--out", tmp_path / "m.onnx", "--split", "val2017")
        assert (status, out) == (2, "")
        assert "--split: there is no --data" in err
        assert one_line(err)

    @pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
    def test_without_the_libraries(self, calbook, run_folder, tmp_path, monkeypatch, library):
        for other in {"onnx", "onnxruntime", "onnxscript"} - {library}:
            pytest.importorskip(other)
        without(monkeypatch, library)
        status, _, err = calbook("export", run_folder, "--out", tmp_path / "m.onnx")
        assert status == 2
        assert f"export needs {library}" in err
        assert "pip install 'calbook[export]'" in err
        assert one_line(err)


class FakeOnnx:
    """Stands for onnx and onnxruntime: a session that answers as the network does, or wrongly."""

    wrong = 0.0
    model: torch.nn.Module

    def __init__(self, *arguments: object, **options: object) -> None:
        self.metadata_props = self
        self.checker = self
        self.InferenceSession = FakeOnnx
        self.ModelProto = object

    def load(self, path: str) -> "FakeOnnx":
        return self

    def save(self, *arguments: object) -> None: ...

    def add(self, **entry: str) -> None: ...

    def check_model(self, path: str) -> None: ...

    @torch.no_grad()
    def run(self, names: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        maps = self.model(torch.from_numpy(feed["images"]))
        return [(tensor + self.wrong * tensor.abs().max()).numpy() for tensor in maps]


def test_commands_do_not_load_heavy_libraries_to_show_help(calbook, monkeypatch):
    real = builtins.__import__

    def light(name: str, *rest: object, **options: object) -> object:
        assert not name.startswith(("torchvision", "onnx", "av"))
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", light)
    for command in ("evaluate", "predict", "export"):
        status, out, _ = calbook(command, "--help")
        assert status == 0
        assert "example:\n  calbook" in out
