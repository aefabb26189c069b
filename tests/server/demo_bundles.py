"""Bundles of the demo's network under other names, with other labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from engines import manifest as manifests
from engines.storage.bundle import DEMO, open_bundle
from export.bundling.staging import staged, write_manifest

LABELS = open_bundle(DEMO).manifest.labels
# Models of ``demo_copies``, and how far the labels of each are moved, so that its answers are its own.
MOVED = {"first": 0, "second": 1, "third": 4}


def demo_copy(bundle: Path, name: str, network: bytes | None = None, labels_moved: int = 0) -> None:
    """Replace ``bundle`` as the export does, by the demo under another name, with another network or moved labels."""
    manifest = manifests.decode((DEMO / manifests.FILE_NAME).read_bytes())
    labels = manifest.labels[labels_moved:] + manifest.labels[:labels_moved]
    source = msgspec.structs.replace(manifest.source, model=name)
    with staged(bundle) as directory:
        shutil.copy(DEMO / "model.onnx", directory)
        if network is not None:
            (directory / "model.onnx").write_bytes(network)
        write_manifest(directory, msgspec.structs.replace(manifest, name=name, source=source, labels=labels))


def demo_copies(directory: Path) -> Path:
    """Fill ``directory`` with the models of ``MOVED``."""
    for name, moved in MOVED.items():
        demo_copy(directory / name, name, labels_moved=moved)
    return directory
