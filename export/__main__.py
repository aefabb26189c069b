"""``python -m export MODEL``: exit code 0 with a bundle, 1 when building it failed, 2 for a model it cannot use."""

from __future__ import annotations

import logging
import os
import sys

from engines.bundle import Bundle
from engines.errors import CheckpointError, ServiceError
from export.progress import stage
from export.settings import ExportSettings, parse_settings


def main() -> int:
    settings = parse_settings()
    logging.basicConfig(level="WARNING", format="%(levelname)s %(message)s")
    try:
        bundle = _export(settings)
    except ServiceError as error:
        print(f"export failed: {error}", file=sys.stderr)
        return 2 if isinstance(error, CheckpointError) else 1
    except KeyboardInterrupt:
        print("export interrupted: nothing was written", file=sys.stderr)
        return 130
    print(_summary(bundle))
    return 0


def _export(settings: ExportSettings) -> Bundle:
    # Read by transformers when it is imported: its own bars would run through the stages shown here.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    with stage("import torch"):
        from transformers.utils import logging as transformers_logging

        from export.pipeline import export_bundle
    transformers_logging.disable_progress_bar()
    return export_bundle(settings, stage)


def _summary(bundle: Bundle) -> str:
    manifest = bundle.manifest
    megabytes = sum(file.size_bytes for file in manifest.files) / 1e6
    lines = [
        f"bundle       {bundle.path}",
        f"model        {manifest.source.model}{' (random weights)' if manifest.source.random_weights else ''}",
        f"engine       {manifest.target} {manifest.precision}, batch 1 to {manifest.max_batch}, {megabytes:.1f} MB",
        f"input        {manifest.frames} frames, {manifest.preprocessing.crop} x {manifest.preprocessing.crop}",
        f"labels       {len(manifest.labels)}",
        f"verification {_verification(bundle)}",
        f"serve it     just serve {bundle.path}",
    ]
    return "\n".join(lines)


def _verification(bundle: Bundle) -> str:
    found = bundle.manifest.verification
    if found is None:
        return "not done (--no-verify)"
    return (
        f"{found.clips} clips in {found.precision}: probabilities within {found.max_abs_probability_error:.1e}"
        f" (accepted: {found.tolerance:.0e}), same top-1 {found.top1_agreement:.0%}, top-5 {found.top5_agreement:.0%}"
    )


if __name__ == "__main__":
    sys.exit(main())
