"""``calbook evaluate``, from the command line."""

import json
import shutil
import signal
from types import SimpleNamespace

import pytest
import tiny_coco
import torch
from trained_runs import write_run
from typed_commands import one_line

from calbook import inference, results, runs
from calbook.data import coco
from calbook.data.annotations import load
from calbook.skeletons import LSP
from calbook.training import launch


class TestEvaluate:
    def test_a_run(self, calbook, run_folder, data_folder, people, tmp_path):
        record, folder = tmp_path / "score.json", tmp_path / "out"
        status, out, err = calbook("evaluate", run_folder, "--data", data_folder, "--json", record, "--results", folder)
        assert (status, err) == (0, "")
        assert out.splitlines()[1].split() == ["AP", "AP50", "AP75", "APM", "APL", "AR", "AR50", "AR75", "ARM", "ARL"]
        trained = runs.load(run_folder)
        for said in ("gt", "hard at OKS 0.9", trained.weights_hash[:12], "64x48", torch.__version__.split("+")[0]):
            assert said in out
        written = results.read(record)
        assert written["settings"]["boxes"] == "gt"
        assert written["settings"]["flip"] == "yes"
        assert set(written["figures"]) >= {"AP", "AR", "ARL"}
        (file,) = folder.iterdir()
        assert file.name == "person_keypoints_val2017_cal-tiny_results.json"
        assert len(load(file)) <= len(people)
        again = calbook("evaluate", file, "--data", data_folder)
        assert again[1].splitlines()[:2] == out.splitlines()[1:3]
        assert "unknown" in again[1]

    def test_what_changes_a_score_is_said(self, calbook, run_folder, data_folder, tmp_path):
        boxes = tmp_path / "detector.json"
        boxes.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [2, 3, 40, 60], "score": 0.9}]))
        options = ("--boxes", boxes, "--shift", "--nms", "soft", "--no-antialias", "--min-box-score", "0.5")
        status, out, _ = calbook("evaluate", run_folder, "--data", data_folder, *options)
        assert status == 0
        for said in ("detector.json", "yes, shifted by a pixel", "soft at OKS 0.9", "0.5", "1, 0 left out"):
            assert said in out
        assert "flip          no" in calbook("evaluate", run_folder, "--data", data_folder, "--no-flip")[1]

    def test_without_areas_by_pck(self, calbook, run_folder, data_folder, tmp_path):
        file = data_folder / "annotations" / "person_keypoints_val2017.json"
        document = load(file)
        for person in document["annotations"]:
            del person["area"]
        other = tmp_path / "data"
        (other / "annotations").mkdir(parents=True)
        (other / "val2017").symlink_to(data_folder / "val2017")
        (other / "annotations" / file.name).write_text(json.dumps(document))
        status, out, _ = calbook("evaluate", run_folder, "--data", other)
        assert status == 0
        assert "PCK" in out.splitlines()[0]
        assert "left_wrist" in out

    def test_a_test_set_for_the_server(self, calbook, run_folder, data_folder, people, tmp_path):
        other = tmp_path / "data"
        (other / "annotations").mkdir(parents=True)
        (other / "test2017").symlink_to(data_folder / "val2017")
        images = load(data_folder / "annotations" / "person_keypoints_val2017.json")["images"]
        (other / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps({"images": images}))
        boxes = tmp_path / "boxes.json"
        entries = [
            {"image_id": image["id"], "category_id": 1, "bbox": [0, 0, 40, 60], "score": 0.9} for image in images
        ]
        boxes.write_text(json.dumps(entries))
        command = ("evaluate", run_folder, "--data", other, "--split", "test-dev2017")
        status, out, err = calbook(*command, "--boxes", boxes, "--results", tmp_path / "out")
        assert (status, err) == (0, "")
        file = tmp_path / "out" / "person_keypoints_test-dev2017_cal-tiny_results.json"
        assert str(file) in out
        assert {pose["image_id"] for pose in load(file)} == {image["id"] for image in images}
        assert one_line(calbook(*command)[2])

    def test_what_could_not_be_scored_is_refused_before_hours_of_prediction(
        self, calbook, run_folder, data_folder, tmp_path, monkeypatch
    ):
        def predict(*_: object, **options: object) -> None:
            pytest.fail("predicted for nothing")

        monkeypatch.setattr(inference, "predict_people", predict)
        document = load(data_folder / "annotations" / "person_keypoints_val2017.json")
        images, boxes = document["images"], tmp_path / "boxes.json"
        boxes.write_text(
            json.dumps([{"image_id": images[0]["id"], "category_id": 1, "bbox": [0, 0, 9, 9], "score": 1}])
        )
        for person in document["annotations"]:
            del person["area"]
        (tmp_path / "annotations").mkdir()
        (tmp_path / "val2017").symlink_to(data_folder / "val2017")
        (tmp_path / "annotations" / "image_info_test-dev2017.json").write_text(json.dumps({"images": images}))
        (tmp_path / "annotations" / "person_keypoints_val2017.json").write_text(json.dumps(document))
        tiny = tiny_coco.document()
        for person in tiny["annotations"]:
            person.pop("area", None)
        tiny_coco.write(tmp_path / "tiny", tiny)
        without_torso = write_run(tmp_path / "run", skeleton=coco.read_split(tmp_path / "tiny", "val2017").skeleton)
        test_set = (run_folder, "--data", tmp_path, "--split", "test-dev2017", "--boxes", boxes)
        for arguments, message in (
            (test_set, "--results DIR"),
            (("--json", "score.json", *test_set, "--results", "out"), "leave out --json"),
            ((run_folder, "--data", tmp_path, "--boxes", boxes), "annotated boxes (--boxes gt) to score by PCK"),
            ((without_torso, "--data", tmp_path / "tiny"), "no torso to measure; add the persons' areas"),
        ):
            status, out, err = calbook("evaluate", *arguments)
            assert (status, out) == (2, "")
            assert message in err
            assert one_line(err)

    @pytest.mark.parametrize("first", [True, False])
    def test_each_process_says_what_is_wrong_with_its_pictures(
        self, calbook, run_folder, data_folder, tmp_path, monkeypatch, first
    ):
        shutil.copytree(data_folder, tmp_path / "data")
        picture = next((tmp_path / "data" / "val2017").iterdir())
        picture.write_bytes(picture.read_bytes()[:100])
        signals = []
        launcher = SimpleNamespace(procs=[SimpleNamespace(send_signal=signals.append)] if first else [])
        fabric = SimpleNamespace(
            launch=lambda: None,
            device=torch.device("cpu"),
            is_global_zero=first,
            strategy=SimpleNamespace(launcher=launcher),
        )
        monkeypatch.setattr(launch, "build_fabric", lambda devices: fabric)
        status, out, err = calbook("evaluate", run_folder, "--data", tmp_path / "data", "--devices", 2)
        assert (status, out) == (2, "")
        assert picture.name in err
        assert one_line(err)
        assert signals == [signal.SIGKILL] * first

    def test_the_weights_that_were_used_are_said(self, calbook, data_folder, tmp_path):
        run = write_run(tmp_path / "never-validated")
        weights = runs.RunFolder(run).weights
        weights("best").rename(weights("last"))
        assert "weights       last, sha256" in calbook("evaluate", run, "--data", data_folder, "--no-flip")[1]

    @pytest.mark.parametrize(
        ("options", "field"),
        [
            (["--boxes", "det.json"], "--boxes"),
            (["--min-box-score", "0.5"], "--min-box-score"),
            (["--no-flip"], "--no-flip"),
            (["--shift"], "--shift"),
            (["--nms", "soft"], "--nms"),
            (["--no-antialias"], "--no-antialias"),
            (["--weights", "last"], "--weights"),
            (["--batch", "8"], "--batch"),
            (["--device", "cpu"], "--device"),
            (["--devices", "2"], "--devices"),
            (["--results", "out"], "--results"),
        ],
    )
    def test_options_of_a_run_are_refused_beside_a_file(self, calbook, data_folder, tmp_path, options, field):
        (tmp_path / "poses.json").write_text("[]")
        status, out, err = calbook("evaluate", tmp_path / "poses.json", "--data", data_folder, *options)
        assert (status, out) == (2, "")
        assert f"calbook evaluate: {field}: {tmp_path / 'poses.json'} holds poses that are found already" in err
        assert one_line(err)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--min-box-score", "0.5"], "--min-box-score: annotated boxes have no scores"),
            (["--device", "cpu", "--devices", "2"], "--device: several processes share the work"),
            (["--shift", "--no-flip"], "--shift: without a flip test there are no mirrored maps to shift"),
        ],
    )
    def test_options_without_effect_are_refused(self, calbook, run_folder, data_folder, options, message):
        status, out, err = calbook("evaluate", run_folder, "--data", data_folder, *options)
        assert (status, out) == (2, "")
        assert message in err
        assert one_line(err)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"target": "nothing"}, "nothing: No such file"),
            ({"--split": "train2017"}, "no split 'train2017'"),
            ({"--boxes": "absent.json"}, "absent.json: No such file"),
            ({"--device": "nonsense"}, "there is no such device"),
            ({"--batch": "0"}, "is not a whole number from 1 up"),
            ({"--min-box-score": "nan"}, "is not a number from 0 up"),
        ],
    )
    def test_bad_input_is_one_line(self, calbook, run_folder, data_folder, change, message):
        target = change.pop("target", run_folder)
        options = [word for pair in change.items() for word in pair]
        status, out, err = calbook("evaluate", target, "--data", data_folder, *options)
        assert (status, out) == (2, "")
        assert message in err
        assert one_line(err)

    def test_joints_of_another_skeleton(self, calbook, data_folder, tmp_path):
        run = write_run(tmp_path / "lsp", skeleton=LSP)
        status, _, err = calbook("evaluate", run, "--data", data_folder)
        assert status == 2
        assert "its 17 joints are not the 14" in err
