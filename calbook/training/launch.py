"""Where a run computes: one device, several, several machines.

Three ways to start more than one process; Lightning Fabric does the work in each:

* ``calbook train ... --devices 4``: the command starts the other processes itself.
* ``torchrun --nnodes 2 --nproc-per-node 8 -m calbook.cli train ...``: on every machine.
* ``srun calbook train ...`` inside a Slurm job: one task per GPU.

The last two say in the environment how many processes there are, so that
``--devices`` and ``--nodes`` can be left out.
"""

import logging
import os
import signal
from collections.abc import Mapping
from datetime import timedelta

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.strategies.strategy import Strategy
from lightning_fabric.utilities import rank_zero_only

from calbook.data.defects import DataError, Defect
from calbook.training.config import Precision

# The first process makes the data and scores by itself, hours for COCO's test set, and the others wait at their next
# message. The usual half an hour would end them.
PATIENCE = timedelta(hours=12)


def build_fabric(
    devices: int | None = None,
    nodes: int | None = None,
    precision: Precision = "32-true",
    accelerator: str = "auto",
) -> Fabric:
    """Lightning Fabric for a run; call ``launch()`` on it before training.

    Args:
        devices: Processes on this machine, one per GPU, or CPU processes; None for what torchrun
            or Slurm say, else 1.
        nodes: Machines; None likewise.
        precision: See ``TrainingConfig``.
        accelerator: ``"auto"`` for a GPU where there is one, or ``"cpu"``, ``"cuda"``, ``"mps"``.

    Raises:
        DataError: The devices are not there, or the precision is none of theirs.
    """
    here, machines = processes(os.environ)
    devices, nodes = devices or here or 1, nodes or machines or 1
    kind = _kind(accelerator)
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise _error("--devices", f"{devices} GPUs asked for, {torch.cuda.device_count()} found", "ask for fewer")
    if kind != "cuda" and precision == "16-mixed":
        raise _error("--precision", f"16-mixed needs a GPU of CUDA, this is {kind}", "choose bf16-mixed or 32-true")
    if kind == "mps" and devices * nodes > 1:
        raise _error("--devices", "several processes cannot share an Apple GPU", "ask for 1")
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)  # which precision it uses, we have asked for
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    strategy: Strategy | str = DDPStrategy(timeout=PATIENCE) if devices * nodes > 1 else "auto"
    return Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy=strategy, precision=precision)


def processes(environment: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Processes per machine, and machines, as torchrun or Slurm announce them; None where they do not.

    >>> processes({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "8", "WORLD_SIZE": "64"})
    (8, 8)
    >>> processes({"SLURM_NTASKS": "16", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train"})
    (8, 2)
    >>> processes({})
    (None, None)
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        local = int(environment["LOCAL_WORLD_SIZE"])
        return local, int(environment["WORLD_SIZE"]) // local
    interactive = environment.get("SLURM_JOB_NAME") in ("bash", "interactive")  # a shell in a job, not srun
    if "SLURM_NTASKS" in environment and not interactive:
        nodes = int(environment.get("SLURM_NNODES", "1"))
        return int(environment["SLURM_NTASKS"]) // nodes, nodes
    return None, None


def is_first() -> bool:
    """Whether this is the first of the processes that train together, or the only one: the one that prints."""
    return int(getattr(rank_zero_only, "rank", 0)) == 0  # Fabric sets it; its types do not say so


def stop_others(fabric: Fabric) -> None:
    """End the processes that this one started: they would wait for it for ever."""
    for process in getattr(fabric.strategy.launcher, "procs", []):
        process.send_signal(signal.SIGKILL)


def _kind(accelerator: str) -> str:
    if accelerator == "mps" and not torch.backends.mps.is_available():
        raise _error("--accelerator", "mps asked for, and there is no Apple GPU", "choose auto")
    if accelerator != "auto":
        return accelerator
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _error(field: str, problem: str, remedy: str) -> DataError:
    return DataError(Defect("training", "", field, problem, remedy))
