"""Validation with the real metric: COCO's AP where people have areas, PCK elsewhere."""

from torch import nn

from calbook.codecs.base import Codec
from calbook.data.coco import CocoPeople
from calbook.data.defects import DataError, Defect
from calbook.inference import predict_people
from calbook.inference.evaluation import has_areas, score_pck, score_results
from calbook.inference.result_files import to_results
from calbook.metrics import torso_lengths
from calbook.training.learner import Validate


def validate_on(people: CocoPeople, *, flip: bool = True, shift: bool = False, batch_size: int = 64) -> Validate:
    """What ``fit`` calls to score a network on a data set, in its annotated boxes.

    The figures are those of ``calbook evaluate`` with the same options. Several processes
    share the pictures.

    Args:
        people: The validation set, with its pictures' folder.
        flip: Whether the network looks twice, as in the published evaluation.
        shift: See ``inference.predict_crops``.
        batch_size: Crops that the network sees at once.

    Returns:
        A function of network and codec to figures in [0, 1]: ``AP`` and COCO's nine
        others, or ``PCK`` (0.2 of the torso) over all joints and by joint.

    Raises:
        DataError: The people have neither areas nor a torso to measure.
    """
    if not has_areas(people):
        try:
            torso_lengths(people.joints, people.visible, people.skeleton)
        except ValueError as error:  # now, and not after the first epoch
            problem, remedy = f"not known of everybody, and {error}", "add the areas, or validate on another set"
            raise DataError(Defect(str(people.pictures), "", "area", problem, remedy)) from None
    category = people.pycocotools_dict()["categories"][0]["id"]

    def validate(network: nn.Module, codec: Codec) -> dict[str, float]:
        found = predict_people(network, codec, people, flip=flip, shift=shift, batch_size=batch_size, shared=True)
        if not has_areas(people):
            return score_pck(people, found.coords)
        return score_results(people, to_results(found, people.skeleton, category_id=category))

    return validate
