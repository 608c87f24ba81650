"""Use the installed package as someone would who has only `pip install calbook`: no repository beside it.

Run by `.ci/wheel` with the Python of an empty environment, from an empty folder.
"""

import importlib
import pkgutil
import re
import subprocess
import sys
from importlib.metadata import files, requires
from pathlib import Path

import torch

import calbook
from calbook import results, training
from calbook.data.synthetic import SyntheticStream
from calbook.method import build_method

home = Path(calbook.__file__).parent
assert "site-packages" in home.parts, f"this is not the installed package: {home}"

# Typed, and with the licences.
names = {path.as_posix() for path in files("calbook") or ()}
assert "calbook/py.typed" in names
assert any(name.endswith("licenses/LICENSE") for name in names)
assert any(name.endswith("licenses/LICENSE-TEXT") for name in names)
assert not any(name.startswith(("tests/", "book/", "experiments/")) for name in names)

# Every module can be imported, or says which extra it needs by lacking a package of that extra.
extras = {re.match(r"[\w.-]+", text).group().lower() for text in requires("calbook") or () if "extra ==" in text}
lacking = {}
for module in pkgutil.walk_packages([str(home)], "calbook."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        lacking[module.name] = error.name.split(".")[0]
aliases = {"yaml": "pyyaml"}
undeclared = {name: lib for name, lib in lacking.items() if aliases.get(lib, lib).lower() not in extras}
assert not undeclared, f"these modules need packages that are not declared: {undeclared}"
assert all(name.split(".")[1] in ("bookbuild", "interactive", "page") for name in lacking), lacking

# What belongs to the repository is absent, and says so.
assert results.commit() is None

# The command.
calbook_command = str(Path(sys.executable).with_name("calbook"))


def run(*words: str) -> str:
    """What the command prints; it must succeed."""
    finished = subprocess.run([calbook_command, *words], capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, f"calbook {' '.join(words)}: {finished.stderr}"
    return finished.stdout


assert "commands:" in run("--help")
assert calbook.__version__ in run("--version")
assert "torch" in run("info")
run("data", "synthesize", "--out", "set", "--split", "val2017", "--count", "4", "--size", "64x48")
assert "no defects" in run("data", "check", "set")

# A short training on synthetic people, and a prediction.
method = build_method("cal-tiny", (64, 48))
torch.manual_seed(0)
model, codec = method.build_model(17), method.build_codec()
optimizer, loss = torch.optim.Adam(model.parameters(), 1e-3), method.build_loss()
crops = next(SyntheticStream(8, (64, 48), seed=0))
totals = []
for _ in range(8):  # the same batch: its loss must fall
    value = loss(model(training.normalize(crops.images)), codec.encode(crops.joints, crops.visible)).total
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    totals.append(float(value.detach()))
assert totals[-1] < totals[0], totals
with torch.inference_mode():
    pose = codec.decode(model.eval()(training.normalize(crops.images)))
assert pose.coords.shape == (8, 17, 2)
assert pose.coords.isfinite().all()

print(
    f"calbook {calbook.__version__} works from its wheel: {len(names)} files, loss {totals[0]:.2f} to {totals[-1]:.2f}"
)
if lacking:
    print("for the extra `book` only:", ", ".join(sorted(lacking)))
