"""An environment of its own for each rival: exact versions, built once into the cache folder.

Without options it builds what is missing; `--freeze` pins the newest versions anew.

    python -m benchmarks.serving.environments
    python -m benchmarks.serving.environments --freeze kserve --install kserve onnxruntime

"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.serving.model import cache_folder

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements"
NAMES = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))
WANTED = ((3, 11), (3, 12))
INSTALL_TIMEOUT_S = 900


class Missing(Exception):
    """An environment cannot be had; says why."""


def python_of(name: str) -> Path:
    """Return the interpreter of an environment, built now if it is not there.

    Raises:
        Missing: There is no Python for it, or its packages do not install.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    base = _base_python()
    key = hashlib.sha256(requirements.read_bytes() + str(base).encode()).hexdigest()[:12]
    folder = cache_folder() / "environments" / f"{name}-{key}"
    if not (folder / "complete").is_file():
        print(f"building the environment of {name} in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        _build(folder, base, ["-r", str(requirements)])
        (folder / "complete").touch()
    return folder / "bin" / "python"


def versions_of(name: str) -> dict[str, str]:
    """Return the pinned version of every package of an environment."""
    lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _build(folder: Path, base: Path, install: list[str]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for command in (
        [str(base), "-m", "venv", str(folder)],
        ["nice", "-n", "10", str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *install],
    ):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, env=environ, check=False
            )
        except subprocess.TimeoutExpired as late:
            raise Missing(f"{' '.join(command[:6])} did not end in {INSTALL_TIMEOUT_S} s") from late
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr[-300:]]
            raise Missing(f"not installable: {said[-1]}")


def _base_python() -> Path:
    """Return an interpreter of a version that the pins are for."""
    for path in _interpreters():
        program = "import sys; print(sys.base_prefix, *sys.version_info[:2])"
        found = subprocess.run([path, "-c", program], capture_output=True, text=True, check=False)
        if found.returncode:
            continue
        prefix, *version = found.stdout.rsplit(maxsplit=2)
        if tuple(map(int, version)) in WANTED:
            return Path(prefix) / "bin" / f"python{'.'.join(version)}"
    raise Missing("there is no Python 3.11 or 3.12 on this machine, which the rivals' pins are for")


def _interpreters() -> Iterator[str]:
    yield from (f"python{major}.{minor}" for major, minor in WANTED if shutil.which(f"python{major}.{minor}"))
    yield sys.executable
    for major, minor in WANTED:
        yield from map(str, sorted((Path.home() / ".pyenv" / "versions").glob(f"{major}.{minor}.*/bin/python")))


def freeze(name: str, packages: list[str]) -> None:
    """Install the newest versions into a throw-away environment and write their pins."""
    folder = cache_folder() / "environments" / f"{name}-freeze"
    shutil.rmtree(folder, ignore_errors=True)
    _build(folder, _base_python(), packages)
    pins = subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "freeze"], capture_output=True, text=True, check=True
    ).stdout
    head = f"# python -m benchmarks.serving.environments --freeze {name} --install {' '.join(packages)}\n"
    (REQUIREMENTS / f"{name}.txt").write_text(head + pins)
    shutil.rmtree(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--freeze", metavar="NAME")
    parser.add_argument("--install", nargs="+", default=[])
    options = parser.parse_args()
    if options.freeze:
        freeze(options.freeze, options.install)
        return
    for name in NAMES:
        try:
            print(f"{name}: {python_of(name)}")
        except Missing as why:
            print(f"{name}: missing: {why}")


if __name__ == "__main__":
    main()
