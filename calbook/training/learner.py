"""All that changes while a network learns: what a checkpoint holds, and nothing else.

A checkpoint is one mapping of tensors by name and one of plain numbers. Whatever
is not in it is a function of the configuration: the learning rate of the epoch, the
stage, the order of the data and its augmentation of (seed, epoch, person), the
random numbers of a step of (seed, step, process). So nothing else need be saved for
a run to continue to the bit.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from torch import Tensor, nn

from calbook import gmm
from calbook.codecs.base import Codec
from calbook.method import Method
from calbook.models.modes import evaluating
from calbook.training.average import MovingAverage
from calbook.training.config import TrainingConfig
from calbook.training.step import ADVICE, NonFiniteLossError

Tensors = dict[str, Tensor]
Validate = Callable[[nn.Module, Codec], Mapping[str, float]]  # network in evaluation mode to figures, larger is better


class Learner:
    """A network with its optimiser, its moving average and its place in the run.

    Args:
        network: With the weights that it begins from.
        method: Its codec and loss.
        config: How it learns.
        fabric: Where.

    Attributes:
        network: The network itself.
        model: The network as Fabric wraps it, to learn through.
        mixture: The last mini-batch's, None in stage one.
        epoch: Passes over the data behind it, from 0.
        batch: Mini-batches of this epoch behind it.
        step: Mini-batches behind it in all.
        since: Sums of the loss terms since the last log line, and of how many steps.
    """

    def __init__(self, network: nn.Module, method: Method, config: TrainingConfig, fabric: Fabric) -> None:
        self.network, self.codec, self.loss = network, method.build_codec(), method.build_loss()
        # Fused: one pass over all weights; a tenth of a small network's step. But then Adam itself undoes the scaling
        # of float16's gradients, in its step, which is too late where they are clipped before.
        fused = None if config.clip and config.precision == "16-mixed" else True
        optimizer = torch.optim.Adam(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=fused
        )
        self.model, self.optimizer = fabric.setup(network, optimizer)
        self._fabric = fabric
        self.average = None if config.average is None else MovingAverage(network, config.average)
        self.mixture: gmm.Mixture | None = None
        self.epoch = self.batch = self.step = 0
        self._begin = time.perf_counter()
        self.since = torch.zeros(4, dtype=torch.float64)

    @property
    def seconds(self) -> float:
        """Wall time of the training so far, that of interrupted pieces included."""
        return round(time.perf_counter() - self._begin, 3)

    def weights(self) -> Tensors:
        """The weights to predict with: the moving average where there is one."""
        return dict(self.network.state_dict()) if self.average is None else dict(self.average.weights)

    @contextmanager
    def evaluated(self) -> Iterator[nn.Module]:
        """The network to evaluate: in evaluation mode, with averaged weights where there are such.

        Of several processes each has the first one's running statistics, as at the next step anyway.
        """
        weights = nullcontext() if self.average is None else self.average.in_place_of(self.network)
        with weights, torch.no_grad(), evaluating(self.network):
            if self._fabric.world_size > 1:
                for buffer in self.network.buffers():
                    dist.broadcast(buffer, 0)
            yield self.network

    def score(self, validate: Validate) -> dict[str, float]:
        """Figures of the network as it is, on every process."""
        with self.evaluated() as network:
            return {name: float(value) for name, value in validate(network, self.codec).items()}

    def state(self) -> tuple[Tensors, dict[str, Any]]:
        """All that must be saved: tensors by name, and plain numbers.

        Raises:
            NonFiniteLossError: A weight is no longer finite; such a state must not take the place of a sound one.
        """
        tensors = {f"model.{name}": value for name, value in self.network.state_dict().items()}
        if not all(value.isfinite().all() for value in tensors.values()):
            raise NonFiniteLossError(
                f"a weight is not finite after step {self.step}; the last checkpoint is kept: {ADVICE}"
            )
        tensors |= _flatten(self.network, self.optimizer.optimizer)
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.weights.items()}
        if self.mixture is not None:
            tensors |= {f"mixture.{name}": value for name, value in self.mixture._asdict().items()}
        tensors["since"] = self.since
        numbers = {"epoch": self.epoch, "batch": self.batch, "step": self.step, "seconds": self.seconds}
        return tensors, numbers | {"precision": self._fabric.strategy.precision.state_dict()}

    def load(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Become what ``state`` described."""
        self.network.load_state_dict(_part(tensors, "model."))
        _restore(self.network, self.optimizer.optimizer, tensors)
        if self.average is not None:
            self.average.load(_part(tensors, "average."))
        if mixture := _part(tensors, "mixture."):
            self.mixture = gmm.Mixture(**{name: value.to(self._fabric.device) for name, value in mixture.items()})
        self.since = tensors["since"].clone()
        self.epoch, self.batch, self.step = numbers["epoch"], numbers["batch"], numbers["step"]
        self._begin = time.perf_counter() - numbers["seconds"]
        self._fabric.strategy.precision.load_state_dict(numbers["precision"])


def _part(tensors: Mapping[str, Tensor], prefix: str) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _flatten(network: nn.Module, optimizer: torch.optim.Optimizer) -> Tensors:
    """The optimiser's tensors, each under its own name and its parameter's: ``optimizer.exp_avg.trunk.stem...``."""
    return {
        f"optimizer.{kind}.{name}": value
        for name, parameter in network.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


@torch.no_grad()
def _restore(network: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Undo ``_flatten``; all goes where the parameter is, and all but Adam's count of steps into its layout.

    A parameter that never had a gradient, such as those of a branch that the loss does not read, has no state.
    """
    parameters = dict(network.named_parameters())
    for key, value in _part(tensors, "optimizer.").items():
        kind, _, name = key.partition(".")
        parameter = parameters[name]
        optimizer.state[parameter][kind] = (
            value.to(parameter.device, copy=True) if kind == "step" else torch.empty_like(parameter).copy_(value)
        )
