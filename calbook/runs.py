"""Run folders: what a training leaves behind, and how to use it again.

    config.json                  what was trained, how and on what
    environment.json             versions, machine, commit, of each start and continuation
    metrics.jsonl                losses and scores, a line each
    weights/last.safetensors     the network's tensors at the last checkpoint
    weights/best.safetensors     and when they scored best
    state/checkpoint.safetensors all that resuming needs: one file, so that it is always of one moment
    tensorboard/, curves/*.png   the lines of metrics.jsonl as pictures

JSON and safetensors only: reading a run folder never runs code from it.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import nn

from calbook.codecs import Codec
from calbook.data.defects import DataError, Defect
from calbook.method import Method
from calbook.skeletons import Skeleton

Weights = Literal["best", "last"]

_REMEDY = "name a folder that `calbook train` wrote"


@dataclass(frozen=True)
class RunFolder:
    """The files of a run folder.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """What was trained, how and on what."""
        return self.path / "config.json"

    @property
    def environment(self) -> Path:
        """Versions, machine, commit."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """Losses and scores, a line each."""
        return self.path / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """Folder of what resuming needs."""
        return self.path / "state"

    def weights(self, which: Weights) -> Path:
        """The network's tensors."""
        return self.path / "weights" / f"{which}.safetensors"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained network and how to read it.

    Attributes:
        method: Network, codec and loss.
        skeleton: The joints it finds.
        model: The network in evaluation mode, on the CPU.
        codec: Between its maps and joints.
        config: All of ``config.json``.
        path: The run folder.
        weights: Which weights these are: ``"last"`` also where there was no best.
        weights_hash: SHA-256 of the weights' file.
    """

    method: Method
    skeleton: Skeleton
    model: nn.Module
    codec: Codec
    config: dict[str, Any]
    path: Path
    weights: Weights
    weights_hash: str


def load(path: Path | str, weights: Weights = "best") -> Trained:
    """Load a trained network from its run folder.

    Args:
        path: The run folder.
        weights: ``"best"``, or ``"last"``, which also stands in for the best of a run that was never validated.

    Raises:
        DataError: The folder is not a run folder, or a file of it is damaged.
    """
    run = RunFolder(Path(path))
    config = read_config(run)
    try:
        method = Method.from_dict(config["method"])
        skeleton = skeleton_from_dict(config["skeleton"])
        model, codec = method.build_model(skeleton.num_joints), method.build_codec()
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:  # whatever JSON holds
        problem = f"does not describe a network ({type(error).__name__}: {error})"
        raise DataError(Defect(str(run.config), "", "", problem, _REMEDY)) from None
    used = weights if run.weights(weights).exists() else "last"
    file = run.weights(used)
    try:
        content = file.read_bytes()  # once: a training that goes on may replace the file at any moment
        model.load_state_dict(load_tensors(content))
    except FileNotFoundError:
        raise DataError(Defect(str(file), "", "", "missing", "train until the first checkpoint")) from None
    except (SafetensorError, RuntimeError, KeyError) as error:  # KeyError: numbers of a kind that torch has not
        problem = f"these are not this network's weights ({str(error).splitlines()[0]})"
        raise DataError(Defect(str(file), "", "", problem, "copy the run folder again")) from None
    digest = hashlib.sha256(content).hexdigest()
    return Trained(method, skeleton, model.eval(), codec, config, run.path, used, digest)


def read_config(run: RunFolder) -> dict[str, Any]:
    """What ``config.json`` says.

    Raises:
        DataError: It is missing or not a JSON object.
    """
    try:
        config = json.loads(run.config.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(Defect(str(run.path), "", "", "not a run folder: it has no config.json", _REMEDY)) from None
    except (ValueError, RecursionError) as error:
        raise DataError(Defect(str(run.config), "", "", f"not JSON ({error})", "copy the run folder again")) from None
    if not isinstance(config, dict):
        raise DataError(Defect(str(run.config), "", "", "not a JSON object", _REMEDY))
    return config


def skeleton_from_dict(record: dict[str, Any]) -> Skeleton:
    """The skeleton that ``dataclasses.asdict`` wrote, after JSON made lists of its tuples."""
    return Skeleton(
        name=record["name"],
        joints=tuple(record["joints"]),
        limbs=tuple((int(a), int(b)) for a, b in record["limbs"]),
        sigmas=tuple(float(sigma) for sigma in record["sigmas"]),
    )


def skeleton_to_dict(skeleton: Skeleton) -> dict[str, Any]:
    """What ``skeleton_from_dict`` reads."""
    return asdict(skeleton)
