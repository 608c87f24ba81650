"""All experiments and tables by name, and what has to be trained for a table."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache

from calbook import gmm
from calbook.experiments.experiment import Evaluation, Experiment
from calbook.experiments.presets import PresetName
from calbook.experiments.questions import QUESTION_NETWORKS, QUESTION_TABLES
from calbook.experiments.search import SEARCH_NETWORKS, SEARCH_TABLE
from calbook.experiments.tables import NETWORKS, PAPER_TABLES, Row, Table
from calbook.options import nearest

EXPERIMENTS: dict[str, Experiment] = NETWORKS | QUESTION_NETWORKS | SEARCH_NETWORKS
TABLES: dict[str, Table] = PAPER_TABLES | QUESTION_TABLES | {SEARCH_TABLE.name: SEARCH_TABLE}


def names() -> tuple[str, ...]:
    """Names of all experiments."""
    return tuple(EXPERIMENTS)


def get(name: str) -> Experiment:
    """An experiment by name, as published.

    Raises:
        ValueError: There is none of this name.

    >>> get("cal-w32-128x96").training.mask_epochs
    40
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}{nearest(name, EXPERIMENTS)}: see calbook reproduce --list")
    return EXPERIMENTS[name]


def table(name: str) -> Table:
    """A table by name.

    Raises:
        ValueError: There is none of this name.
    """
    if name not in TABLES:
        raise ValueError(f"unknown table {name!r}{nearest(name, TABLES)}: choose one of {', '.join(TABLES)}")
    return TABLES[name]


@dataclass(frozen=True)
class Run:
    """A row at a preset: the network to train and the evaluation to show.

    Attributes:
        row: The row.
        experiment: At the preset; the same object for all rows that one training serves.
        evaluation: Name of its evaluation.
    """

    row: Row
    experiment: Experiment
    evaluation: str


def runs_of(name: str, preset: PresetName) -> list[Run]:
    """The rows of a table that are run, each with its network at a preset.

    Raises:
        ValueError: Unknown table or preset.
    """
    found = table(name)
    networks, standins = _networks(preset)
    runs = []
    for row in found.rows:
        if row.experiment is None:
            continue
        network = networks[standins[row.experiment.at(preset, halved=found.halved).name]]
        known = {evaluation.name for evaluation in network.evaluations}
        runs.append(Run(row, network, row.evaluation if row.evaluation in known else "val2017"))
    return runs


@cache
def _networks(preset: PresetName) -> tuple[dict[str, Experiment], dict[str, str]]:
    """What is trained at a preset, by name, and for each name at this preset the one that stands for it.

    Rows of several tables, and on a laptop those of both widths, are one training; it is scored in
    all the ways that any of them asks for.
    """
    merged: dict[str, Experiment] = {}
    for found in TABLES.values():
        for row in found.rows:
            if row.experiment is not None:
                one = row.experiment.at(preset, halved=found.halved)
                before = merged.get(one.name, one)
                if _training(before) != _training(one):
                    raise AssertionError(f"two experiments are called {one.name} at preset {preset}")
                merged[one.name] = replace(before, evaluations=_union(before.evaluations, one.evaluations))
    first: dict[str, str] = {}
    standins = {name: first.setdefault(_training(one), name) for name, one in merged.items()}
    for name, standin in standins.items():
        both = _union(merged[standin].evaluations, merged[name].evaluations)
        merged[standin] = replace(merged[standin], evaluations=both)
    return {name: merged[name] for name in dict.fromkeys(standins.values())}, standins


def _training(experiment: Experiment) -> str:
    """What decides the trained network, as text."""
    recipe = experiment.recipe()
    decisive = {name: recipe[name] for name in ("training", "data", "start")}
    method = experiment.method
    if experiment.is_trained:  # what options come to: one that is set to its default is the same method
        decisive["method"] = [method.model, method.model_options, repr(method.build_codec()), repr(method.build_loss())]
    if experiment.is_search:
        decisive["search"] = experiment.variant  # its files stay valid when the best rate becomes the preset's
    training = decisive["training"]
    if training["mask_epochs"] == 0:
        training["components"] = 0  # no mixture is fitted
    elif training["components"] is None:
        training["components"] = gmm.default_components(experiment.method.heatmap_size)
    return json.dumps(decisive if experiment.is_trained else experiment.name, sort_keys=True)


def _union(first: Iterable[Evaluation], second: Iterable[Evaluation]) -> tuple[Evaluation, ...]:
    found: dict[str, Evaluation] = {}
    for evaluation in (*first, *second):
        if found.setdefault(evaluation.name, evaluation) != evaluation:
            raise AssertionError(f"two evaluations are called {evaluation.name}: {evaluation}")
    return tuple(found.values())
