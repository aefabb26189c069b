"""Every name of TensorRT's API that the code uses exists in the library, though nothing here can run a plan."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from engines.bundle import open_bundle, replace_manifest
from engines.cuda_device import cuda_devices
from engines.errors import BundleUnsupportedError, EngineError
from engines.runtimes import default_bundle, load_engine
from engines.tensorrt_api import load_tensorrt
from tests.live_server import ROOT, run_module

# Which class of the library the expressions of each source file are, as they are written there.
CLASSES = {
    "engines/tensorrt_api.py": {
        "config": "IBuilderConfig",
        "plan": "ICudaEngine",
        "self._runtime": "Runtime",
        "contexts": "IRuntimeConfig",
    },
    "engines/tensorrt_runtime.py": {"context": "IExecutionContext"},
    "export/tensorrt_compiler.py": {
        "self._builder": "Builder",
        "self._config": "IBuilderConfig",
        "config": "IBuilderConfig",
        "parser": "OnnxParser",
        "errors[0]": "ParserError",
        "profile": "IOptimizationProfile",
        "cache": "ITimingCache",
    },
    "export/layer_table.py": {
        "runtime": "Runtime",
        "engine": "ICudaEngine",
        "engine.create_engine_inspector()": "EngineInspector",
    },
}


@pytest.fixture(scope="module")
def trt() -> ModuleType:
    pytest.importorskip("tensorrt_rtx")
    return load_tensorrt("tensorrt-rtx").module


def _attributes(source: str) -> Iterator[tuple[str, str]]:
    """Each expression with an attribute that is taken of it."""
    for node in ast.walk(ast.parse((ROOT / source).read_text())):
        if isinstance(node, ast.Attribute):
            yield ast.unparse(node.value), node.attr


@pytest.mark.parametrize("source", CLASSES)
def test_names_of_the_module_exist(trt: ModuleType, source: str) -> None:
    used = [(base, name) for base, name in _attributes(source) if base.split(".")[0] == "trt"]
    for base, name in used:
        value = trt
        for part in base.split(".")[1:]:
            value = getattr(value, part)
        assert hasattr(value, name), f"{source}: {base}.{name}"


@pytest.mark.parametrize("source", CLASSES)
def test_methods_and_properties_exist(trt: ModuleType, source: str) -> None:
    classes = CLASSES[source]
    used = {(classes[base], name) for base, name in _attributes(source) if base in classes}
    assert {kind for kind, _ in used} == set(classes.values())
    for kind, name in used:
        assert hasattr(getattr(trt, kind), name), f"{source}: {kind}.{name}"


def test_what_the_module_is_asked_for_by_attribute_exists(trt: ModuleType) -> None:
    used = [(base, name) for base, name in _attributes("engines/tensorrt_api.py") if base == "self.module"]
    assert used
    for _, name in used:
        assert hasattr(trt, name), name
    assert hasattr(trt.DynamicShapesKernelSpecializationStrategy, "EAGER")


def test_a_library_that_is_not_there_is_named_with_a_cure() -> None:
    if importlib.util.find_spec("tensorrt"):
        pytest.skip("TensorRT is installed here")
    with pytest.raises(EngineError, match="tensorrt is not installed") as raised:
        load_tensorrt("tensorrt")
    assert raised.value.help


@pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")
def test_a_plan_is_refused_where_there_is_no_gpu(odd_rtx_bundle: Path) -> None:
    with pytest.raises(BundleUnsupportedError, match="no CUDA device"):
        load_engine(open_bundle(odd_rtx_bundle))
    served = run_module("server", str(odd_rtx_bundle), "--port", "0", "--log-format", "text")
    assert served.returncode == 2
    assert "8.9" in served.stderr
    assert "help:" in served.stderr
    assert "Traceback" not in served.stderr


@pytest.mark.skipif(bool(cuda_devices()), reason="this machine has a GPU")
def test_a_plan_is_no_default_where_there_is_no_gpu(odd_rtx_bundle: Path) -> None:
    bundle = open_bundle(odd_rtx_bundle)
    replace_manifest(bundle, name="plan")
    assert default_bundle(odd_rtx_bundle.parent) != odd_rtx_bundle
