"""What pip may not replace when it adds to NVIDIA's container, and which versions it takes for the rest.

``constraints.py requirements.lock`` prints constraints: the versions that are installed of what the container is for,
and the lock's of everything else. ``constraints.py --check ENVIRONMENT`` fails when the environment, which sees the
container's packages, has one of them of its own.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions
from pathlib import Path

# Built for each other, and numpy because they are compiled against it.
KEPT = ("torch", "tensorrt", "pytorch", "triton", "nvidia", "cuda", "numpy", "nccl", "cudnn")


def is_kept(name: str) -> bool:
    return name.startswith(KEPT)


def constraints(installed: dict[str, str], lock: Iterable[str]) -> Iterator[str]:
    """Lines for pip; ``installed`` is each distribution's version."""
    kept = {name: version for name, version in installed.items() if is_kept(name)}
    yield from (f"{name}=={version}" for name, version in sorted(kept.items()))
    yield from (line for line in lock if normal(re.split(r"[=; \[]", line)[0]) not in kept)


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
