"""Make the virtual environment that `make book` and `make test` run in.

Needs only a Python from 3.11 to 3.13 with its `venv` module: this file imports nothing
else and stays readable to older Pythons, so that they can say what is wrong.
"""

import argparse
import hashlib
import importlib
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
LOCK = os.path.join(ROOT, "requirements.lock")
STAMP = os.path.join(VENV, "calbook-setup")
OLDEST, NEWEST = (3, 11), (3, 13)
NEEDED_GB = {"default": 6.0, "cpu": 2.5}  # measured on Linux: 5.1 and 1.6 GB after set-up
GPU_ONLY = re.compile(r"(torch|torchvision|triton|nvidia-.*|cuda-.*)==")


def fail(message):
    sys.exit("setup: " + message)


def check_python():
    """Stop with one line if this Python cannot make the environment."""
    version = sys.version_info[:2]
    if not OLDEST <= version <= NEWEST:
        fail(
            "Python %d.%d found, but 3.11 to 3.13 is needed: install one and run `make PYTHON=/path/to/python3.12 ...`"
            % version
        )
    try:
        for module in ("venv", "ensurepip"):  # Debian ships Python without either
            importlib.import_module(module)
    except ImportError:
        fail("this Python has no venv module: install it (Debian, Ubuntu: `apt install python3-venv`) and try again")


def check_disk(variant):
    """Stop with one line if the disk cannot hold the environment."""
    free = shutil.disk_usage(ROOT).free / 1e9
    if free < NEEDED_GB[variant]:
        fail(
            "%.1f GB free in the project folder, but %.1f GB are needed: make room%s"
            % (free, NEEDED_GB[variant], "" if variant == "cpu" else ", or choose the smaller `TORCH=cpu`")
        )


def usable(python):
    """Whether the environment exists, is complete enough to install into, and is of this Python."""
    if not os.path.exists(python):
        return False
    program = "import sys, pip; sys.exit(sys.version_info[:2] != %r)" % (tuple(sys.version_info[:2]),)
    return subprocess.call([python, "-c", program], stderr=subprocess.DEVNULL) == 0


def lock_blocks():
    """The lock's requirements with their hashes, one string per package."""
    with open(LOCK, encoding="utf-8") as file:
        return re.findall(r"^\S.*(?:\n[ ]+\S.*)*", file.read(), flags=re.MULTILINE)


def run(step, *command):
    """Run a command; on failure its own output stays above our one line."""
    print("setup: " + step, flush=True)
    try:
        subprocess.run(command, check=True, cwd=ROOT)
    except (OSError, subprocess.CalledProcessError) as error:
        code = getattr(error, "returncode", error)
        fail("could not %s (%s); the lines above say why. Nothing is lost: run the same command again." % (step, code))


def trust_this_machine():
    """Let uv trust the certificates that this machine trusts, as pip does: companies add their own."""
    import ssl

    paths = ssl.get_default_verify_paths()
    if paths.cafile or paths.capath:
        os.environ.setdefault("UV_SYSTEM_CERTS", "true")


def install(variant, anew):
    """Make the environment where there is none to use, or ``anew``; put everything into it."""
    trust_this_machine()
    bin_folder = "Scripts" if os.name == "nt" else "bin"
    python = os.path.join(VENV, bin_folder, "python")
    uv = os.path.join(VENV, bin_folder, "uv")
    if anew or not usable(python):
        check_disk(variant)
        run("create the virtual environment", sys.executable, "-m", "venv", "--clear", VENV)

    blocks = lock_blocks()
    bootstrap = os.path.join(VENV, "uv.lock.txt")  # uv itself, from the same hashed lock
    with open(bootstrap, "w", encoding="utf-8") as file:
        file.writelines(block + "\n" for block in blocks if block.startswith("uv=="))
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "--require-hashes", "-r", bootstrap]
    run("install uv", *pip)

    chosen = LOCK
    if variant == "cpu":
        chosen = os.path.join(VENV, "cpu.lock.txt")
        with open(chosen, "w", encoding="utf-8") as file:
            file.writelines(block + "\n" for block in blocks if not GPU_ONLY.match(block))
    uv_install = [uv, "pip", "install", "-q", "--python", python]
    run("install the locked packages", *uv_install, "--require-hashes", "--no-deps", "-r", chosen)
    if variant == "cpu":  # torch's own index names its builds apart, so the lock's hashes cannot cover them
        pins = [re.match(r"[^ ;\\]+", block).group() for block in blocks if re.match(r"torch(vision)?==", block)]
        run("install torch without CUDA", *uv_install, "--torch-backend=cpu", *pins)
    run("install calbook", *uv_install, "--no-deps", "--editable", ROOT)
    run("check that torch and torchvision fit together", python, "-c", "import torchvision; torchvision.ops.nms")


def fingerprint(variant):
    digest = hashlib.sha256(("%s %d.%d" % (variant, sys.version_info[0], sys.version_info[1])).encode())
    for path in (LOCK, os.path.join(ROOT, "pyproject.toml"), os.path.abspath(__file__)):
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def earlier():
    """Variant and fingerprint of the last set-up that was done, or two times nothing."""
    if not os.path.exists(STAMP):
        return None, None
    with open(STAMP, encoding="utf-8") as file:
        variant, _, mark = file.read().partition(" ")
    return (variant, mark) if variant in NEEDED_GB else (None, None)


def main():
    parser = argparse.ArgumentParser(description="Set up .venv with the exact versions of requirements.lock.")
    what = "cpu: leave out CUDA (smaller); without this option what was chosen before holds"
    parser.add_argument("--torch", choices=sorted(NEEDED_GB), help=what)
    before, mark = earlier()
    variant = parser.parse_args().torch or before or "default"
    wanted = fingerprint(variant)
    if mark == wanted:
        return
    check_python()
    # Both builds of PyTorch have one version: an installer that finds the other one leaves it.
    install(variant, anew=before not in (None, variant))
    with open(STAMP, "w", encoding="utf-8") as file:
        file.write(variant + " " + wanted)
    print("setup: done", flush=True)


if __name__ == "__main__":
    main()
