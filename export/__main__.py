"""``python -m export MODEL``, ``list``, ``show BUNDLE``, ``verify BUNDLE``, ``use BUNDLE``.

The exit code is 0 on success, 1 when building or verifying failed, 2 when the model, the bundle or this installation
cannot be used.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from typing import NamedTuple

from commandline.parser import Parser
from commandline.programs import command
from engines.errors import BundleError, CheckpointError, ConfigurationError, ServiceError, VerificationError
from engines.options import EngineOptions
from engines.runtimes.registry import open_engine
from engines.storage.bundle import BUNDLES, Bundle, open_bundle, replace_manifest
from engines.storage.pinned_name import pin_bundle, unpin_bundle
from engines.storage.verification import reference_of, verify
from export.catalog import described_model, described_size, described_verification, locate, print_bundle, print_list
from export.failures import explained
from export.settings import parse_settings

INTERRUPTED = 130
"""The exit code that shells use for a program ended by Ctrl-C (128 + SIGINT)."""

NO_PIN = "auto"
"""The name that `use` takes to pin no bundle; a bundle of this name is given as ./auto."""


def main() -> int:
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    name, *arguments = sys.argv[1:] or [""]
    try:
        with explained():
            if name in _COMMANDS:
                _run(name, arguments)
            else:
                _export()
    except ServiceError as error:
        print(f"export failed: {error}", file=sys.stderr)
        unusable = isinstance(error, (BundleError, CheckpointError, ConfigurationError))
        return 2 if unusable and not isinstance(error, VerificationError) else 1
    except KeyboardInterrupt:
        print("export interrupted: no bundle was written; run the same command again to continue", file=sys.stderr)
        return INTERRUPTED
    return 0


def _export() -> None:
    started_s = time.perf_counter()
    given = parse_settings()
    from export.preflight import settled
    from export.progress import peak_memory_bytes, say, stage

    # transformers reads these when it is imported. Its own progress bars would disturb the lines printed here.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    settings = settled(given)
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


def _list(_: Namespace) -> None:
    print_list(BUNDLES)


def _show(flags: Namespace) -> None:
    print_bundle(locate(flags.bundle))


def _verify(flags: Namespace) -> None:
    bundle = open_bundle(locate(flags.bundle))
    reference = reference_of(bundle)
    if reference is None:
        raise VerificationError(
            f"bundle {bundle.path} contains no reference answers", help="export it again without --no-verify"
        )
    engine = open_engine(bundle, EngineOptions(trust_writable_bundles=flags.trust_writable_bundles))
    try:
        found = verify(engine, reference)
    finally:
        engine.close()
    print(f"verified         {described_verification(replace_manifest(bundle, verification=found).manifest)}")


def _use(flags: Namespace) -> None:
    if flags.bundle == NO_PIN:
        unpin_bundle()
        print(f"`{command('serve')}` takes the newest verified bundle that runs here")
        return
    bundle = open_bundle(locate(flags.bundle))
    pin_bundle(bundle.path)
    print(f"`{command('serve')}` takes {bundle.path}, until `{command('export', 'use', NO_PIN)}` or another `use`")


class _Command(NamedTuple):
    """A command besides the export itself; ``bundle`` explains its argument, None where it has none."""

    run: Callable[[Namespace], None]
    does: str
    bundle: str | None = "directory of the bundle, or its name in engines/bundles"


_COMMANDS = {
    "list": _Command(_list, "List the bundles of this installation, the newest first.", None),
    "show": _Command(_show, "Check every file of a bundle and print what the bundle says of itself."),
    "verify": _Command(_verify, "Compare the answers of a bundle with those of its checkpoint, and store the result."),
    "use": _Command(
        _use,
        "Pin the bundle that is served when none is named.",
        "directory of the bundle, or its name in engines/bundles; `auto` pins none: the newest verified one is served",
    ),
}


def _run(name: str, arguments: Sequence[str]) -> None:
    chosen = _COMMANDS[name]
    parser = Parser("export", name, description=chosen.does)
    if chosen.bundle is not None:
        parser.add("bundle", metavar="BUNDLE", help=chosen.bundle)
    if chosen.run is _verify:
        parser.add(
            "--trust-writable-bundles",
            action="store_true",
            help="load the code in the bundle also where other users may write; only if you trust all of them",
        )
    chosen.run(parser.parse_args(arguments))


def _summary(bundle: Bundle) -> str:
    manifest = bundle.manifest
    lines = [
        f"bundle           {bundle.path}, {described_size(manifest)}",
        f"model            {described_model(manifest)}",
        f"input            {manifest.frames} frames, {manifest.preprocessing.crop} x {manifest.preprocessing.crop}",
        f"labels           {len(manifest.labels)}",
        f"verification     {described_verification(manifest)}",
        f"digest           {manifest.content_sha256()}",
        f"serve it         {command('serve', str(bundle.path))}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
