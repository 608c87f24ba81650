"""Validation with the real metric: COCO's AP where people have areas, PCK elsewhere."""

from torch import nn

from calbook.codecs.base import Codec
from calbook.data.coco import CocoPeople
from calbook.inference import predict_people
from calbook.inference.evaluation import check_scorable, has_areas, score_pck, score_results
from calbook.inference.result_files import to_results
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
    check_scorable(people, str(people.pictures))
    category = people.pycocotools_dict()["categories"][0]["id"]

    def validate(network: nn.Module, codec: Codec) -> dict[str, float]:
        found = predict_people(network, codec, people, flip=flip, shift=shift, batch_size=batch_size, shared=True)
        if not has_areas(people):
            return score_pck(people, found.coords)
        return score_results(people, to_results(found, people.skeleton, category_id=category))

    return validate
