"""Checkpoints and state dicts: damaged, odd, and with code in them."""

import io
import math
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz.attempts import Reader
from fuzz.damage import damaged_bytes, odd, put
from safetensors.torch import save
from torch import Tensor, nn

from calbook.models import build_model, load_reference_weights
from calbook.models.reference_weights import LoadReport

Action = Callable[[], Any]


@cache
def _network() -> nn.Module:
    return build_model("hrnet-tiny")


@cache
def _sound_state() -> dict[str, Tensor]:
    """The weights of the network between attempts."""
    return {key: value.clone() for key, value in _network().state_dict().items()}


@cache
def _published() -> dict[str, Tensor]:
    own = _network().state_dict()
    names = {
        "conv1.weight": "trunk.stem.0.0.weight",
        "bn1.running_var": "trunk.stem.0.1.running_var",
        "final_layer.weight": "prediction.predict.weight",
        "final_layer.bias": "prediction.predict.bias",
    }
    return {published: torch.full_like(own[name], 0.5) for published, name in names.items()}


def _saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def _odd_tensor(rng: random.Random, sound: Tensor) -> Any:
    """Something in a tensor's place: of another kind, or a tensor like no other."""
    makers: list[Callable[[], Any]] = [
        lambda: odd(rng),
        lambda: sound * math.nan,
        lambda: sound.to_sparse(),
        lambda: sound.to("meta"),
        lambda: sound.to(rng.choice((torch.complex64, torch.bool, torch.int64, torch.float16, torch.float8_e4m3fn))),
        lambda: torch.quantize_per_tensor(sound, 0.1, 0, torch.qint8),
        lambda: sound.flatten(),
        lambda: sound[..., None],
        lambda: sound.new_zeros(()).expand(sound.shape),
        lambda: sound.new_zeros(0),
        lambda: nn.Parameter(sound),
        lambda: {"inner": sound},
    ]
    return rng.choice(makers)()


def _odd_state(rng: random.Random) -> Any:
    state: dict[Any, Any] = dict(_published())
    key = rng.choice(tuple(state))
    change = rng.randrange(6)
    if change < 3:
        state[key] = _odd_tensor(rng, state[key])
    elif change == 3:
        other = rng.choice((3, None, "", "\n", "a\nb", ("a",), "state_dict", "module." * 9 + key, "x" * 9000))
        state[other] = state.pop(key)
    elif change == 4:
        state = {f"{rng.choice(('a', 'module.', ''))}{name}\n": value for name, value in state.items()}
    else:
        return rng.choice(({"state_dict": odd(rng)}, {"state_dict": {"state_dict": state}}, {}, {"epoch": 3}))
    return state if rng.random() < 0.7 else {"epoch": 1, "state_dict": state}


def _state_dict(rng: random.Random, folder: Path) -> Action:
    state = _odd_state(rng)
    return lambda: _unchanged_if_refused(_network(), lambda model: load_reference_weights(model, state))


def _unchanged_if_refused(model: nn.Module, load: Callable[[nn.Module], Any]) -> Any:
    """Load; where that is refused, the network must be as it was, which has no NaN."""
    before = _sound_state()
    try:
        report = load(model)
    except (ValueError, TypeError):
        now = model.state_dict()
        if not all(torch.equal(now[key], value) for key, value in before.items()):
            model.load_state_dict(before)
            raise RuntimeError("refused, yet the network has changed") from None
        raise
    except BaseException:
        model.load_state_dict(before)
        raise
    model.load_state_dict(before)
    return report


class Payload:
    """Unpickled, it calls a function that leaves a file behind."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _payload(rng: random.Random, marker: Path) -> Any:
    command = f"touch {marker}"
    calls = [
        Payload(os.system, command),
        Payload(eval, f"open({str(marker)!r}, 'w').close()"),
        Payload(exec, f"open({str(marker)!r}, 'w').close()"),
        Payload(open, str(marker), "w"),
        Payload(torch.load, str(marker)),
        Payload(np.load, str(marker)),
    ]
    evil = rng.choice(calls)
    return rng.choice((evil, {"conv1.weight": evil}, {"state_dict": [evil]}, OrderedDict({evil: 1}), [evil] * 3))


def _weights_file(rng: random.Random, folder: Path) -> Action:
    marker = folder.parent / f"{folder.name}-ran"  # outside the folder: made only by code that must not run
    suffix, kind = ".pth", rng.randrange(6)
    if kind == 0:
        suffix, content = ".safetensors", damaged_bytes(rng, save(_published()))
    elif kind == 1:
        content = damaged_bytes(rng, _saved(_published(), _use_new_zipfile_serialization=rng.random() < 0.5))
    elif kind == 2:
        content = _saved(_odd_state(rng) if rng.random() < 0.5 else _payload(rng, marker))
    elif kind == 3:
        content = pickle.dumps(_payload(rng, marker), protocol=rng.randrange(6))
    elif kind == 4:
        content = _saved(_payload(rng, marker), _use_new_zipfile_serialization=False)
    else:
        content = _repacked(rng, _saved(_published()), pickle.dumps(_payload(rng, marker), protocol=2))
    path = put(folder, f"weights{suffix}", content)

    def act() -> Any:
        report = _unchanged_if_refused(_network(), lambda model: load_reference_weights(model, path))
        assert not marker.exists(), "code ran"
        return report

    return act


def _repacked(rng: random.Random, archive: bytes, evil: bytes) -> bytes:
    """An archive of PyTorch's with one entry exchanged, renamed or doubled."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w") as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name == chosen:
                change = rng.randrange(4)
                content = evil if change == 0 else damaged_bytes(rng, content) if change == 1 else content
                name = f"../../{name}" if change == 2 else name
                if change == 3:
                    new.writestr(name + "2", evil)
            new.writestr(name, content)
    return out.getvalue()


def _check_loaded(report: LoadReport) -> None:
    assert report.loaded
    assert str(report).isprintable()


WEIGHTS = [
    Reader("state dicts", _state_dict, (ValueError, TypeError), _check_loaded),
    Reader("weights files", _weights_file, (ValueError, TypeError), _check_loaded),
]
