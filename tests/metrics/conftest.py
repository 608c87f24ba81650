import pytest

from calbook.data import coco


@pytest.fixture(scope="session")
def people(shared_data):
    """249 real persons in 83 pictures."""
    return coco.read_split(shared_data / "coco_mini", "val2017")
