"""The search for learning rates: the same three for every method, judged by people whom no table shows.

Each candidate is trained for half of the schedule, with drops and stage two at the same shares of it.
UDP is judged without the smoothing of its published decoder, which at this size hides what a network has learnt.
"""

from dataclasses import replace

from calbook.experiments import recipes
from calbook.experiments.experiment import Evaluation, Experiment
from calbook.experiments.presets import LEARNING_RATES
from calbook.experiments.tables import Row, Table
from calbook.geometry import Size

SIZE: Size = (64, 48)
TUNE = Evaluation("tune2017", "tune2017")

_SCHEDULE = {"epochs": 105, "milestones": (85, 100)}
_STAGE_TWO = {"cal": {"mask_epochs": 20}}
_JUDGED = {"udp": replace(TUNE, codec_options={"blur": (1, 1)})}

_FAMILIES = {"hrnet": recipes.hrnet, "udp": recipes.udp, "dark": recipes.dark, "cal": recipes.cal}


def _network(family: str, rate: float) -> Experiment:
    training = {"learning_rate": rate} | _SCHEDULE | _STAGE_TWO.get(family, {})
    return _FAMILIES[family]("w32", SIZE, (_JUDGED.get(family, TUNE),), variant=f"rate{rate}", training=training)


SEARCH_NETWORKS: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (_network(family, rate) for family in _FAMILIES for rate in LEARNING_RATES)
}
SEARCH_TABLE = Table(
    "rates",
    "Learning rates, for presets on synthetic people",
    tuple(
        Row(f"{experiment.family}, {experiment.training.learning_rate}", experiment, TUNE.name)
        for experiment in SEARCH_NETWORKS.values()
    ),
)


def best_rates(scores: dict[str, dict[float, float]]) -> dict[str, float]:
    """The rate of the highest AP for each family, of equal ones the lowest.

    >>> best_rates({"cal": {0.0005: 0.5, 0.001: 0.6, 0.002: 0.6}})
    {'cal': 0.001}
    """
    return {family: max(sorted(found), key=lambda rate: found[rate]) for family, found in scores.items()}
