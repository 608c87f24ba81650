"""Every row of every published table as data, four sizes to run it at, and the runner.

>>> from calbook import experiments
>>> experiments.get("cal-w32-128x96").at("laptop").method.model
'cal-hrnet-tiny'
"""

from calbook.experiments.catalogue import TABLES, get, names, runs_of, table
from calbook.experiments.experiment import Data, Evaluation, Experiment
from calbook.experiments.presets import PRESETS, Preset, PresetName
from calbook.experiments.tables import Row, Table

__all__ = [
    "PRESETS",
    "TABLES",
    "Data",
    "Evaluation",
    "Experiment",
    "Preset",
    "PresetName",
    "Row",
    "Table",
    "get",
    "names",
    "runs_of",
    "table",
]
