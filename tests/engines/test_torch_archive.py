"""A torch program with a pickle inside is refused before the pickle runs its command."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import BundleUnsupportedError
from engines.runtimes.registry import load_engine
from engines.storage.bundle import open_bundle
from export.bundling.staging import write_manifest

torch = pytest.importorskip("torch")

Records = dict[str, bytes]
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


class _Command:
    """An object whose pickle makes a directory when it is read."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._trace),)


def _saved(trace: Path) -> bytes:
    """As ``torch.save`` writes an object."""
    file = trace.with_suffix(".pt")
    torch.save(_Command(trace), file)
    return file.read_bytes()


def _in_sample_inputs(records: Records, trace: Path) -> None:
    records["data/sample_inputs/model.pt"] = _saved(trace)


def _in_weights(records: Records, trace: Path) -> None:
    config = json.loads(records[WEIGHTS])
    payload = next(iter(config["config"].values()))
    payload["use_pickle"] = True
    records[WEIGHTS] = json.dumps(config).encode()
    records[f"data/weights/{payload['path_name']}"] = _saved(trace)


def _in_weights_of_an_old_format(records: Records, trace: Path) -> None:
    records["data/weights/model.pt"] = _saved(trace)


def _in_constants(records: Records, trace: Path) -> None:
    config = json.loads(records[CONSTANTS])
    payload = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config["config"]["constant"] = payload
    records[CONSTANTS] = json.dumps(config).encode()
    records["data/constants/opaque_obj_0"] = pickle.dumps(_Command(trace))


@pytest.mark.parametrize("hide", [_in_sample_inputs, _in_weights, _in_weights_of_an_old_format, _in_constants])
def test_pickle_in_a_torch_program_never_runs(
    odd_torch_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    hide: Callable[[Records, Path], None],
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    bundle, trace = Path(shutil.copytree(odd_torch_bundle, tmp_path / "bundle")), tmp_path / "trace"
    manifest = open_bundle(bundle).manifest
    (program,) = bundle.glob("*.pt2")
    with zipfile.ZipFile(program) as archive:
        root = archive.namelist()[0].split("/")[0]
        records = {name.removeprefix(f"{root}/"): archive.read(name) for name in archive.namelist()}
    hide(records, trace)
    with zipfile.ZipFile(program, "w") as archive:
        for name, content in records.items():
            archive.writestr(f"{root}/{name}", content)
    write_manifest(bundle, manifest)
    with pytest.raises(BundleUnsupportedError, match="contains Python objects"):
        load_engine(open_bundle(bundle))
    assert not trace.exists()
    assert os.environ["TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"] == "1"
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
