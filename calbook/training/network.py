"""The network as a run begins: fresh weights, or weights trained before, laid out as configured."""

from pathlib import Path

import torch
from torch import nn

from calbook.data.defects import DataError, Defect
from calbook.method import Method
from calbook.models import LoadReport, load_reference_weights
from calbook.runs import RunFolder
from calbook.training.config import TrainingConfig


def build_network(
    method: Method, num_joints: int, config: TrainingConfig, *, warm: bool
) -> tuple[nn.Module, LoadReport | None]:
    """A method's network with the weights that training begins from.

    Args:
        method: Whose network.
        num_joints: Joints, K.
        config: Seed, warm start and layout.
        warm: Whether to load ``config.warm_start``; not where a checkpoint follows.

    Returns:
        The network, and what was loaded into it.

    Raises:
        DataError: The warm start is not there or does not fit.
    """
    torch.manual_seed(config.seed)
    network = method.build_model(num_joints)
    report = warm_start(network, config.warm_start) if warm and config.warm_start else None
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types lack it
    if config.sync_batch_norm:
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if config.compile:
        network.compile()
    return network, report


def warm_start(network: nn.Module, path: str) -> LoadReport:
    """Put weights that were trained before into a network.

    Tensors are matched by name; those of another shape, such as the last layer for
    another number of joints, keep their fresh values. ImageNet weights of HRNet and
    ResNet begin as in the published runs.

    Args:
        network: Of ``build_model``.
        path: A run folder of calbook, a safetensors file, or a file of tensors saved by torch.

    Raises:
        DataError: There is no such file, it is not one of tensors, or none of them fits.
    """
    source = Path(path).expanduser()
    if source.is_dir():
        run = RunFolder(source)
        source = run.weights("best") if run.weights("best").exists() else run.weights("last")
    try:
        return load_reference_weights(network, source, misfits="skip")
    except FileNotFoundError:
        problem, remedy = "there is no such file", "name a run folder, a .safetensors or a .pth file"
        raise DataError(Defect(str(source), "", "warm start", problem, remedy)) from None
    except (ValueError, TypeError) as error:
        problem = str(error).removeprefix(f"{source}: ")
        remedy = "choose weights of the same network"
        raise DataError(Defect(str(source), "", "warm start", problem, remedy)) from None
