"""The servers that are compared, as commands."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.latency.contender import Contender
from tests.latency.payloads import stand_in_label
from tests.latency.ratios import FASTAPI, FLOOR, OURS, TRANSFORMERS
from tests.latency.rivals.environment import rivals_python
from tests.latency.stand_in_device import MAX_BATCH

_FASTAPI_PACKAGES = ("numpy", "fastapi", "uvicorn[standard]")
_ALL_PACKAGES = (*_FASTAPI_PACKAGES, "litserve", "mosec", "numbin", "bentoml")
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}
_RIVALS = "tests.latency.rivals"


def ours(bundle: str = "demo", pace: str | None = None, name: str = OURS) -> Contender:
    """Our server on ``bundle``, or on the stand-in engine of that ``pace``."""
    return Contender(name, _our_command(bundle, pace), "1", _stand_in(pace), tells_phases=True)


def _our_command(bundle: str, pace: str | None) -> tuple[str, ...]:
    module = "tests.latency.stand_in" if pace else "server"
    return (sys.executable, "-m", module, bundle, "--port", "{port}", "--log-format", "json")


def _stand_in(pace: str | None) -> dict[str, str]:
    return {"STAND_IN": pace} if pace else {}


def floor() -> Contender:
    """Reads bodies and answers; no server."""
    return Contender(FLOOR, (sys.executable, "-m", "tests.latency.floor", "{port}", stand_in_label()), "1")


def fastapi(model: str, *, workers: int = 1, name: str = FASTAPI, alone: bool = False) -> Contender:
    """``alone``: without the other rivals, which are then not installed."""
    app = ("-m", "uvicorn", f"{_RIVALS}.fastapi_app:app", "--host", "127.0.0.1", "--port", "{port}")
    packages = _FASTAPI_PACKAGES if alone else _ALL_PACKAGES
    return _rival(name, (*app, "--workers", str(workers)), f"{workers}", model, packages)


def transformers(checkpoint: Path, precision: str) -> Contender:
    """FastAPI with the checkpoint as ``transformers`` runs it."""
    model = f"transformers:{checkpoint}:{_DTYPES[precision]}"
    return fastapi(model, name=TRANSFORMERS[precision], alone=True)


def rivals(model: str) -> list[Contender]:
    """Each rival with no more processes than it needs."""
    batching = model != "instant"
    return [
        fastapi(model),
        _litserve(model, 1, batching=batching),
        _mosec(model, 0),
        _bentoml(model, 1, batching=batching),
    ]


def twofold_rivals(model: str) -> list[Contender]:
    """Each rival with two processes that read and decode."""
    return [
        fastapi(model, workers=2, name=f"{FASTAPI} x 2"),
        _litserve(model, 2, batching=True),
        _mosec(model, 2),
        _bentoml(model, 2, batching=True),
    ]


def _litserve(model: str, api_servers: int, *, batching: bool) -> Contender:
    app = ("-m", f"{_RIVALS}.litserve_app", "{port}", str(api_servers), str(MAX_BATCH if batching else 1))
    return _rival(_fold("LitServe", api_servers), app, f"{api_servers} + 1", model)


def _mosec(model: str, decoders: int) -> Contender:
    app = ("-m", f"{_RIVALS}.mosec_app", "--port", "{port}", "--address", "127.0.0.1")
    processes = f"1 + {decoders} + 1" if decoders else "1 + 1"
    return _rival(_fold("mosec", decoders), app, processes, model, environment={"DECODERS": str(decoders)})


def _bentoml(model: str, workers: int, *, batching: bool) -> Contender:
    app = f"{_RIVALS}.bentoml_app:{'BatchedClips' if batching else 'Clips'}"
    command = ("-m", "bentoml", "serve", app, "--host", "127.0.0.1", "--port", "{port}")
    processes = f"{workers} + 1" if batching else f"{workers}"
    environment = {"WORKERS": str(workers), "BENTOML_DO_NOT_TRACK": "True"}
    return _rival(_fold("BentoML", workers), command, processes, model, environment=environment)


def _fold(name: str, times: int) -> str:
    return f"{name} x {times}" if times > 1 else name


def _rival(
    name: str,
    arguments: tuple[str, ...],
    processes: str,
    model: str,
    packages: Sequence[str] = _ALL_PACKAGES,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Contender:
    """In the rivals' own environment; ``MODEL`` and ``TRANSFORMERS_SITE`` are what ``rivals/models.py`` reads."""
    command = (str(rivals_python(packages)), *arguments)
    given = {"MODEL": model, "RIVAL": name, "TRANSFORMERS_SITE": sysconfig.get_path("purelib"), **environment}
    return Contender(name, command, processes, given)
