"""``calbook predict``, from the command line: pictures, videos, detector, drawings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typed_commands import one_line, photograph, without

from calbook import plotting, runs
from calbook.data import coco
from calbook.data.annotations import load
from calbook.data.defects import DataError, Defect
from calbook.inference import Job, drawing, sources, stream
from calbook.skeletons import COCO


class TestPredict:
    def test_a_folder_with_the_whole_picture_as_box(self, calbook, run_folder, tmp_path):
        folder = tmp_path / "pictures"
        folder.mkdir()
        for name in ("b.png", "a.jpg"):
            photograph(folder / name)
        (folder / "notes.txt").write_text("not a picture")
        out = tmp_path / "poses"
        status, said, err = calbook("predict", run_folder, folder, "--out", out, "--threshold", "0")
        assert (status, err) == (0, "")
        assert "2 people in 2 pictures" in said
        assert sorted(path.name for path in out.iterdir()) == ["000001_a.jpg", "000002_b.jpg", "poses.json"]
        document = load(out / "poses.json")
        assert [image["file_name"] for image in document["images"]] == ["a.jpg", "b.png"]
        assert document["annotations"][0]["bbox"] == [0, 0, 90, 120]
        assert document["info"]["weights_sha256"] == runs.load(run_folder).weights_hash
        people = coco.read(out / "poses.json", folder)  # annotations again, to be corrected by hand
        assert len(people) == 2
        assert people.skeleton == COCO
        assert people.picture(1).shape == (3, 120, 90)

    def test_boxes_of_a_file(self, calbook, run_folder, tmp_path):
        pictures = [photograph(tmp_path / name) for name in ("000000000007.jpg", "me.png", "empty.png")]
        entries = [
            {"image_id": 7, "bbox": [5, 5, 40, 60], "score": 0.5},
            {"image_id": 7, "bbox": [20, 5, 40, 60]},
            {"file_name": "me.png", "bbox": [0, 0, 50, 50]},
            {"file_name": "me.png", "bbox": [500, 0, 50, 50]},
        ]
        boxes = tmp_path / "boxes.json"
        boxes.write_text(json.dumps(entries))
        status, out, err = calbook(
            "predict", run_folder, *pictures, "--boxes", boxes, "--out", tmp_path / "o", "--no-drawings"
        )
        assert status == 0
        assert "3 people in 3 pictures" in out
        assert one_line(err)
        assert "entry 3: bbox: [500, 0, 50, 50] lies outside me.png" in err
        document = load(tmp_path / "o" / "poses.json")
        assert [person["image_id"] for person in document["annotations"]] == [1, 1, 2]
        assert [path.name for path in (tmp_path / "o").iterdir()] == ["poses.json"]
        again = calbook(
            "predict", run_folder, *pictures, "--boxes", tmp_path / "o" / "poses.json", "--out", tmp_path / "p"
        )
        assert "3 people in 3 pictures" in again[1]

    def test_a_corrupt_picture_among_good_ones(self, calbook, run_folder, tmp_path):
        good, bad = photograph(tmp_path / "good.png"), tmp_path / "bad.png"
        bad.write_bytes(good.read_bytes()[:200])
        status, out, err = calbook("predict", run_folder, bad, good, "--out", tmp_path / "o")
        assert status == 1
        assert "1 person in 1 picture" in out
        assert one_line(err)
        assert "bad.png" in err
        status, out, err = calbook("predict", run_folder, bad, "--out", tmp_path / "p")
        assert (status, out) == (2, "")
        assert one_line(err)
        assert not (tmp_path / "p").exists()

    def test_boxes_of_dogs_and_crowds_are_no_people(self, calbook, run_folder, tmp_path):
        picture, boxes = photograph(tmp_path / "a.png"), tmp_path / "boxes.json"
        box = {"image_id": 7, "bbox": [5, 5, 40, 60]}
        images = [{"id": 7, "file_name": "a.png"}]
        person, dog = {"id": 3, "name": "person"}, {"id": 18, "name": "dog"}
        command = ("predict", run_folder, picture, "--boxes", boxes, "--no-drawings", "--no-flip", "--overwrite")

        def people(document: object) -> int:
            boxes.write_text(json.dumps(document))
            status, _, err = calbook(*command, "--out", tmp_path / "o")
            if status:
                assert "no person's box is of one of these pictures" in err
                assert one_line(err)
                return 0
            return len(load(tmp_path / "o" / "poses.json")["annotations"])

        named = box | {"file_name": "a.png"}
        assert people([named | {"category_id": 1}, named | {"category_id": 18}, named]) == 2
        both = {"images": images, "categories": [dog, person]}
        crowd = box | {"category_id": 3, "iscrowd": 1}
        assert people(both | {"annotations": [box | {"category_id": 18}, crowd]}) == 0
        assert people(both | {"annotations": [box | {"category_id": 3, "iscrowd": 0}, crowd]}) == 1
        alone = {"images": images, "categories": [{"id": 5, "name": "dancer"}]}
        assert people(alone | {"annotations": [box | {"category_id": 5}, box]}) == 2

    def test_a_turned_photograph(self, calbook, run_folder, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.open(photograph(tmp_path / "a.png")).save(tmp_path / "turned.jpg", exif=exif)
        calbook("predict", run_folder, tmp_path / "turned.jpg", "--out", tmp_path / "o")
        (image,) = load(tmp_path / "o" / "poses.json")["images"]
        assert (image["width"], image["height"]) == (120, 90)
        assert Image.open(tmp_path / "o" / "000001_turned.jpg").size == (120, 90)

    def test_a_reduced_picture_has_the_poses_of_the_file(self, calbook, run_folder, tmp_path, monkeypatch):
        from calbook.data import pictures

        y, x = np.mgrid[:400, :300]
        smooth = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8) // 2
        Image.fromarray(smooth).resize((300, 400)).save(tmp_path / "a.png")
        boxes = tmp_path / "boxes.json"
        boxes.write_text(json.dumps([{"file_name": "a.png", "bbox": [40, 60, 200, 280]}]))
        found = []
        for limit in (2**26, 40_000):
            monkeypatch.setattr(pictures, "MOST_PIXELS", limit)
            out = tmp_path / str(limit)
            calbook("predict", run_folder, tmp_path / "a.png", "--boxes", boxes, "--out", out, "--threshold", "0")
            document = load(out / "poses.json")
            found.append(np.array(document["annotations"][0]["keypoints"]).reshape(17, 3)[:, :2])
            assert document["images"][0]["width"] == 300
            assert document["annotations"][0]["bbox"] == [40, 60, 200, 280]
        assert np.median(np.linalg.norm(found[0] - found[1], axis=1)) < 5

    @pytest.mark.parametrize("shrink", ["4", "1.5", "32x24"])
    def test_low_resolution(self, calbook, run_folder, tmp_path, shrink):
        picture = photograph(tmp_path / "a.png")
        status, _, _ = calbook("predict", run_folder, picture, "--shrink", shrink, "--out", tmp_path / "o")
        assert status == 0
        assert load(tmp_path / "o" / "poses.json")["images"][0]["width"] == 90

    def test_a_video(self, calbook, run_folder, tmp_path):
        film(tmp_path / "film.mp4", frames=7)
        status, out, _ = calbook("predict", run_folder, tmp_path / "film.mp4", "--every", "3", "--out", tmp_path / "o")
        assert status == 0
        assert "3 people in 3 pictures" in out
        names = [image["file_name"] for image in load(tmp_path / "o" / "poses.json")["images"]]
        assert names == ["film_frame000000.jpg", "film_frame000003.jpg", "film_frame000006.jpg"]

    def test_a_video_that_breaks_off(self, calbook, run_folder, tmp_path, monkeypatch):
        def frames(path: Path):
            yield torch.zeros(3, 120, 90, dtype=torch.uint8)
            raise DataError(Defect(str(path), "", "", "the video cannot be decoded", "copy it again"))

        monkeypatch.setattr(sources, "video_frames", frames)
        (tmp_path / "film.mp4").touch()
        out = tmp_path / "persons"  # a name that is said as it is
        status, said, err = calbook("predict", run_folder, tmp_path / "film.mp4", "--out", out)
        assert status == 1
        assert said == f"{out / 'poses.json'}: 1 person in 1 picture\n"
        assert one_line(err)
        assert f"cut short: {tmp_path / 'film.mp4'}: the video cannot be decoded" in err

    def test_a_broken_video(self, calbook, run_folder, tmp_path):
        pytest.importorskip("av")
        (tmp_path / "film.mp4").write_bytes(b"no film")
        status, _, err = calbook("predict", run_folder, tmp_path / "film.mp4", "--out", tmp_path / "o")
        assert status == 2
        assert one_line(err)
        assert "cannot be decoded" in err

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["absent.jpg"], "there is no such file or folder"),
            (["{empty}"], "no picture"),
            (["{picture}", "--boxes", "{nobody}"], "no person's box is of one of these pictures"),
            (["{picture}", "--boxes", "{malformed}"], "entry 0: bbox: missing"),
            (["{picture}", "--shrink", "0.5"], "neither a factor"),
            (["{picture}", "--boxes", "{list}"], "list.json: entry 0: image_id: [1], not an integer"),
            (["{picture}", "--detector"], "the person detector's weights are not on this machine"),
            (["{picture}", "--boxes", "{list}", "--detector-weights", "w"], "--detector-weights: there are --boxes"),
            ([], "the following arguments are required: PICTURE"),
        ],
    )
    def test_bad_input_is_one_line(self, calbook, run_folder, tmp_path, monkeypatch, arguments, message):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
        (tmp_path / "empty").mkdir()
        (tmp_path / "nobody.json").write_text("[]")
        (tmp_path / "malformed.json").write_text('[{"file_name": "a.png"}]')
        (tmp_path / "list.json").write_text('{"images": [{"id": [1]}], "annotations": [{"bbox": 0, "image_id": [1]}]}')
        places = {"empty": tmp_path / "empty", "picture": photograph(tmp_path / "a.png")}
        places |= {name: tmp_path / f"{name}.json" for name in ("nobody", "malformed", "list")}
        words = [word.format(**places) for word in arguments]
        status, out, err = calbook("predict", run_folder, *words, *(["--out", tmp_path / "o"] if words else []))
        assert (status, out) == (2, "")
        assert message in err
        assert one_line(err)
        assert not (tmp_path / "o").exists()

    def test_nothing_is_replaced_unasked(self, calbook, run_folder, tmp_path):
        picture = photograph(tmp_path / "a.png")
        command = ("predict", run_folder, picture, "--out", tmp_path / "o", "--no-drawings")
        assert calbook(*command)[0] == 0
        status, _, err = calbook(*command)
        assert status == 2
        assert "exists already" in err
        assert calbook(*command, "--overwrite")[0] == 0


def film(path: Path, frames: int) -> None:
    """A small video; frame i is a grey of 30 i."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        track = container.add_stream("mpeg4", rate=10)
        track.width, track.height, track.pix_fmt = 64, 96, "yuv420p"
        for number in range(frames):
            grey = np.full((96, 64, 3), 30 * number, dtype=np.uint8)
            container.mux(track.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(track.encode())


def test_frames_come_in_order(tmp_path):
    film(tmp_path / "film.mp4", frames=5)
    greys = [float(frame.float().mean()) for frame in sources.video_frames(tmp_path / "film.mp4")]
    assert greys == pytest.approx([0, 30, 60, 90, 120], abs=6)


def test_videos_without_pyav(calbook, run_folder, tmp_path, monkeypatch):
    without(monkeypatch, "av")
    (tmp_path / "film.mp4").write_bytes(b"")
    status, _, err = calbook("predict", run_folder, tmp_path / "film.mp4", "--out", tmp_path / "o")
    assert status == 2
    assert "pip install 'calbook[video]'" in err
    assert one_line(err)


class TestDetector:
    def test_boxes_of_an_untrained_detector(self, calbook, run_folder, tmp_path, monkeypatch):
        """Random weights find nothing; the path from file to poses is what counts."""
        from torchvision.models import detection

        from calbook.inference.detector import NAME

        torch.manual_seed(0)
        weights = tmp_path / "weights.pth"
        torch.save(getattr(detection, NAME)(weights=None, weights_backbone=None).state_dict(), weights)
        picture = photograph(tmp_path / "a.png")
        status, out, err = calbook(
            "predict", run_folder, picture, "--detector-weights", weights, "--out", tmp_path / "o"
        )
        assert (status, err) == (0, "")
        assert "in 1 picture" in out

    def test_boxes_are_those_of_the_picture(self, monkeypatch, tmp_path):
        """A picture above the detector's size is shrunk, its boxes are not."""
        from calbook.inference import detector as module

        def network(pictures: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
            height, width = pictures[0].shape[1:]
            boxes = torch.tensor([[0.0, 0.0, width / 2, height], [0.0, 0.0, 5.0, 5.0], [1.0, 1.0, 9.0, 9.0]])
            return [{"boxes": boxes, "labels": torch.tensor([1, 18, 1]), "scores": torch.tensor([0.9, 0.9, 0.1])}]

        monkeypatch.setattr(module, "_load", lambda path: network)
        boxes, scores = module.PersonDetector(tmp_path)(torch.zeros(3, 1000, 3000, dtype=torch.uint8))
        torch.testing.assert_close(boxes, torch.tensor([[0.0, 0.0, 1500.0, 1000.0]]))
        assert scores.tolist() == pytest.approx([0.9])

    @pytest.mark.parametrize(("name", "message"), [("w.pth", "not the weights of"), ("w-deadbeef.pth", "SHA-256")])
    def test_other_files_are_one_line(self, calbook, run_folder, tmp_path, name, message):
        (tmp_path / name).write_bytes(b"nothing")
        picture = photograph(tmp_path / "a.png")
        status, _, err = calbook(
            "predict", run_folder, picture, "--detector-weights", tmp_path / name, "--out", tmp_path / "o"
        )
        assert status == 2
        assert message in err
        assert one_line(err)


class TestDrawing:
    def test_joints_and_limbs_in_the_books_colours(self):
        colours = {side: plotting.COLORS[name] for side, name in plotting.SIDE_COLORS.items()}
        assert colours == drawing.SIDE_COLORS

    def test_only_confident_joints_are_drawn(self):
        picture = torch.zeros(3, 60, 60, dtype=torch.uint8)
        coords, scores = torch.full((1, 17, 2), 50.0), torch.zeros(1, 17)
        assert not np.asarray(drawing.draw_poses(picture, coords, scores, COCO)).any()
        coords[0, 5], scores[0, 5] = torch.tensor([20.0, 30.0]), 0.9
        drawn = np.asarray(drawing.draw_poses(picture, coords, scores, COCO))
        assert tuple(drawn[30, 20]) == (0x00, 0x72, 0xB2)  # the left shoulder is blue
        assert not drawn[45:, 45:].any()
        assert not picture.any()

    def test_far_outside_and_nobody(self):
        picture = torch.zeros(3, 20, 20, dtype=torch.uint8)
        drawing.draw_poses(picture, torch.full((1, 17, 2), -1e6), torch.ones(1, 17), COCO)
        drawing.draw_poses(picture, torch.zeros(0, 0, 2), torch.zeros(0, 0), COCO)


def test_jobs_are_taken_only_as_needed():
    """A film of any length is not read ahead of the network."""
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Job(taken, lambda: torch.zeros(3, 10, 10, dtype=torch.uint8), torch.zeros(0, 4))

    from calbook.codecs import build_codec
    from calbook.models import build_model

    poses = stream(build_model("hrnet-tiny"), build_codec("heatmap", (64, 48), (16, 12)), endless(), workers=2)
    for _ in range(10):
        next(poses)
    poses.close()
    assert taken < 20
