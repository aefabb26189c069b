"""What an image is built from: its base, and this machine's settings of pip."""

from __future__ import annotations

import ast
import shutil
import sys
from pathlib import Path

from tests.containers.engine import Podman, SkippedError, WrongError, run

# What the Dockerfiles take from the official image: Python 3.11 or newer as `python`, with venv.
_PACKAGES = "python3-venv,python-is-python3,ca-certificates"
_PROBE = "import sys, venv; sys.exit(sys.version_info < (3, 11))"


def provide(base: str, podman: Podman) -> str:
    """Have the image ``base``, and say where it is from.

    It is pulled, or where no registry is reached a minimal root of this machine's own Debian stands in for it.
    Raises SkippedError if there is neither.
    """
    name = f"docker.io/library/{base}"
    try:
        podman("pull", "--quiet", name)
        origin = "pulled"
    except WrongError:
        _import_root(name, podman)
        origin = "a minimal Debian root stands in for it, because no registry was reached"
    try:
        podman("run", "--rm", "--network", "none", name, "python", "-c", _PROBE)
    except WrongError as error:
        raise SkippedError(f"Podman runs no container here: {error}") from error
    return origin


def _import_root(name: str, podman: Podman) -> None:
    if shutil.which("mmdebstrap") is None:
        raise SkippedError("no registry was reached, and there is no mmdebstrap to make a base of")
    root = podman.work / "root.tar"
    suite, mirror = _suite_and_mirror()
    options = ("--quiet", "--mode=root", "--variant=minbase", f"--include={_PACKAGES}")
    try:
        run("mmdebstrap", *options, suite, root, mirror, timeout_s=podman.within(150))
    except WrongError as error:
        raise SkippedError(f"no root could be made from this machine's mirror: {error}") from error
    podman("import", "--quiet", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", root, name)
    root.unlink()


def _suite_and_mirror() -> tuple[str, str]:
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "").strip('"')
    targets = run("apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", timeout_s=30)
    for line in targets.splitlines():
        codename, _, mirror = line.partition(" ")
        if suite and codename == suite:
            return suite, mirror
    raise SkippedError(f"apt has no mirror of {suite or 'this release'}")


def pip_mounts(work: Path) -> list[str]:
    """Options of ``podman build`` that give pip the settings that it has here, with the files that they name."""
    settings = _pip_settings()
    lines = [f"{name} = {value}".replace("\n", "\n    ") for name, value in settings.items()]
    (work / "pip.conf").write_text("\n".join(["[global]", *lines, ""]))
    words = " ".join(settings.values()).split()
    # An index on a disk names files beside itself.
    places = {Path(word.removeprefix("file://")).parent for word in words if word.startswith("file:///")}
    places |= {Path(word) for word in words if word.startswith("/")}
    mounts = {f"{place}:{place}:ro" for place in places if place.exists()} | {f"{work}/pip.conf:/etc/pip.conf:ro"}
    return [f"--volume={mount}" for mount in sorted(mounts)]


def _pip_settings() -> dict[str, str]:
    """Each setting's value; those of the environment come after those of the files, as they do for pip."""
    listed = run(sys.executable, "-m", "pip", "config", "list", timeout_s=60).splitlines()
    found: dict[str, str] = {}
    for line in sorted(listed, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in ("global", "install", ":env:"):
            found[key] = ast.literal_eval(value)
    return found


def registry_is_reached() -> bool:
    """Whether pip finds a small package in its index."""
    try:
        run(
            sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps", "idna", timeout_s=60
        )
    except WrongError:
        return False
    return True
