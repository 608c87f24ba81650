"""The network that comes with the book is what its folder says."""

import json

import torch

from calbook import results, runs
from calbook.data import synthetic
from calbook.inference import predict_crops

FOLDER = results.REPOSITORY / "experiments" / "networks" / "small"


def test_it_finds_joints_of_people_that_it_has_not_seen() -> None:
    trained = runs.load(FOLDER)
    people = synthetic.render(12345, 48, trained.codec.input_size)
    pose = predict_crops(trained.model, trained.codec, people.pictures, mirror=trained.skeleton.mirror)
    seen = people.visible[:, 0] > 0
    error = (pose.coords - people.joints[:, 0]).norm(dim=-1)[seen]
    middle = (torch.tensor([23.5, 31.5]) - people.joints[:, 0]).norm(dim=-1)[seen]
    assert error.median() < 4 < 12 < middle.median()


def test_its_folder_says_how_it_was_made() -> None:
    environment = json.loads(runs.RunFolder(FOLDER).environment.read_text())
    assert environment["command"].startswith("python experiments/small_network.py")
    assert {"date", "machine", "versions", "seconds"} <= set(environment)
