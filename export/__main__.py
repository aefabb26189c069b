"""``python -m export MODEL``, ``list``, ``show BUNDLE``, ``verify BUNDLE [--trust-writable-bundles]``.

The exit code is 0 on success, 1 when building or verifying failed, 2 when the model or bundle cannot be used.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable

from engines.errors import BundleError, CheckpointError, ServiceError, VerificationError
from engines.options import EngineOptions
from engines.runtimes.registry import open_engine
from engines.storage.bundle import BUNDLES, Bundle, open_bundle, replace_manifest
from engines.storage.verification import reference_of, verify
from export.catalog import described_model, described_size, described_verification, locate, print_bundle, print_list
from export.failures import explained
from export.preflight import settled
from export.progress import peak_memory_bytes, say, stage
from export.settings import parse_settings

_TRUST = "--trust-writable-bundles"


def main() -> int:
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    command, *arguments = sys.argv[1:] or [""]
    try:
        with explained():
            _COMMANDS.get(command, _export)(arguments)
    except ServiceError as error:
        print(f"export failed: {error}", file=sys.stderr)
        usable = not isinstance(error, (BundleError, CheckpointError)) or isinstance(error, VerificationError)
        return 1 if usable else 2
    except KeyboardInterrupt:
        print("export interrupted: no bundle was written; run the same command again to continue", file=sys.stderr)
        return 130
    return 0


def _export(_: list[str]) -> None:
    started_s = time.perf_counter()
    settings = settled(parse_settings())
    # transformers reads these when it is imported. Its own progress bars would disturb the lines printed here.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with stage("import torch"):
        from transformers.utils import logging as transformers_logging

        from export.pipeline import export_bundle
    transformers_logging.disable_progress_bar()
    exported = export_bundle(settings)
    print(_summary(exported.bundle))
    if exported.reused:
        print("nothing to do    already built from the same checkpoint with the same options (--force builds it again)")
    seconds, gigabytes = time.perf_counter() - started_s, peak_memory_bytes() / 1e9
    say(f"total            {seconds:6.1f} s, at most {gigabytes:.1f} GB of memory")


def _list(arguments: list[str]) -> None:
    _no_more(arguments)
    print_list(BUNDLES)


def _show(arguments: list[str]) -> None:
    print_bundle(locate(_one_bundle("show", arguments)))


def _verify(arguments: list[str]) -> None:
    trusts = [argument for argument in arguments if argument == _TRUST]
    names = [argument for argument in arguments if argument != _TRUST]
    bundle = open_bundle(locate(_one_bundle("verify", names)))
    reference = reference_of(bundle)
    if reference is None:
        raise VerificationError(
            f"bundle {bundle.path} contains no reference answers", help="export it again without --no-verify"
        )
    engine = open_engine(bundle, EngineOptions(trust_writable_bundles=bool(trusts)))
    try:
        found = verify(engine, reference)
    finally:
        engine.close()
    print(f"verified         {described_verification(replace_manifest(bundle, verification=found).manifest)}")


def _one_bundle(command: str, arguments: list[str]) -> str:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print(f"usage: python -m export {command} BUNDLE", file=sys.stderr)
        sys.exit(0 if arguments in (["-h"], ["--help"]) else 2)
    return arguments[0]


def _no_more(arguments: list[str]) -> None:
    if arguments:
        print("usage: python -m export list", file=sys.stderr)
        sys.exit(0 if arguments in (["-h"], ["--help"]) else 2)


_COMMANDS: dict[str, Callable[[list[str]], None]] = {"list": _list, "show": _show, "verify": _verify}


def _summary(bundle: Bundle) -> str:
    manifest = bundle.manifest
    lines = [
        f"bundle           {bundle.path}, {described_size(manifest)}",
        f"model            {described_model(manifest)}",
        f"input            {manifest.frames} frames, {manifest.preprocessing.crop} x {manifest.preprocessing.crop}",
        f"labels           {len(manifest.labels)}",
        f"verification     {described_verification(manifest)}",
        f"digest           {manifest.content_sha256()}",
        f"serve it         just serve {bundle.path}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
