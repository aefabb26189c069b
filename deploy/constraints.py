"""What pip may not replace when it adds to NVIDIA's container, and which versions it takes for the rest.

``constraints.py requirements.lock`` prints constraints: the versions that are installed of what the container is for,
and the lock's of everything else. ``constraints.py --check ENVIRONMENT`` fails when the environment, which sees the
container's packages, has one of them of its own.

Where the container has numpy 1, the lock's packages that need numpy 2 get their last version that works with numpy 1.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

# Built for each other, and numpy because they are compiled against it.
KEPT = ("torch", "tensorrt", "pytorch", "triton", "nvidia", "cuda", "numpy", "nccl", "cudnn")
# Calls the driver and nothing that the container is for; the container's own may be too old for this project.
REPLACEABLE = ("nvidia-ml-py",)
# The last versions that work with numpy 1.
WITH_NUMPY_1 = {"ml-dtypes": "0.5.4", "opencv-python-headless": "4.11.0.86"}


def is_kept(name: str) -> bool:
    return name.startswith(KEPT) and name not in REPLACEABLE


def constraints(installed: dict[str, str], lock: Iterable[str]) -> Iterator[str]:
    """Lines for pip; ``installed`` is each distribution's version."""
    kept = {name: version for name, version in installed.items() if is_kept(name)}
    older = WITH_NUMPY_1 if kept.get("numpy", "").startswith("1.") else {}
    pinned = kept | older
    yield from (f"{name}=={version}" for name, version in sorted(pinned.items()))
    yield from (line for line in lock if normal(re.split(r"[=; \[]", line)[0]) not in pinned)


def replaced(installed: Iterable[tuple[str, Path]], environment: Path) -> list[str]:
    """The distributions of the container that ``environment`` has too; each is a name and where it lies."""
    places: dict[str, set[bool]] = {}
    for name, place in installed:
        places.setdefault(name, set()).add(place.is_relative_to(environment))
    return sorted(name for name, inside in places.items() if is_kept(name) and len(inside) == 2)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    found = [(normal(each.metadata["Name"]), each.version, Path(str(each.locate_file("")))) for each in distributions()]
    if arguments[0] == "--check":
        both = replaced([(name, place) for name, _, place in found], Path(arguments[1]))
        for name in both:
            print(f"the environment replaces the container's {name}", file=sys.stderr)
        return 1 if both else 0
    lock = Path(arguments[0]).read_text().splitlines()
    print("\n".join(constraints({name: version for name, version, _ in found}, lock)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
