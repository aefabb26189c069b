"""Reads settings from the command line and the ``VJEPA_*`` environment; a flag overrides the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

import configargparse

from engines.runtimes.registry import default_bundle
from engines.storage.bundle import find_bundle
from server.config.flag_groups import GROUPS
from server.config.settings import MIB, Settings


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line and the environment; exits with code 2 if they cannot be used."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    for name in ("inflight", "body", "clip"):
        flags[f"max_{name}_bytes"] = flags.pop(f"max_{name}_mb") * MIB
    if flags["max_inflight_bytes"] < flags["max_body_bytes"] + flags["max_clip_bytes"]:
        parser.error("--max-inflight-mb is less than one request of --max-body-mb and --max-clip-mb may hold")
    name = flags.pop("bundle")
    return Settings(bundle=default_bundle() if name is None else find_bundle(name), **flags)


def _parser() -> configargparse.ArgParser:
    parser = configargparse.ArgParser(
        prog="python -m server",
        description="Serve an engine bundle over HTTP.",
        auto_env_var_prefix="VJEPA_",
        formatter_class=configargparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add(
        "bundle",
        nargs="?",
        default=os.environ.get("VJEPA_BUNDLE"),
        help="Directory of the engine bundle, or the name of a bundle in engines/bundles. Without it, the newest"
        " bundle that was built here and that this machine can run is served, or else the demo. [env var:"
        " VJEPA_BUNDLE]",
    )
    for add_flags in GROUPS:
        add_flags(parser)
    for name in ("--http-workers", "--http-worker-timeout-s"):
        parser.add(name, action=_Retired, default=configargparse.SUPPRESS, help=configargparse.SUPPRESS)
    return parser


class _Retired(argparse.Action):
    """A flag of an earlier release; a start with it ends with a message that says what to do instead."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            f"{self.option_strings[0]} is gone, because one process serves more clips than a GPU computes; for several"
            " GPUs run one instance for each behind a load balancer (docs/internals/decisions/2026-11-one-process.md)"
        )
