"""Reads settings from the command line and the ``VJEPA_*`` environment; a flag overrides the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from commandline.parser import Parser
from engines.runtimes.default_bundle import default_bundle
from engines.storage.bundle import find_bundle
from server.config.engine_flags import add_checks, add_engine
from server.config.load_flags import add_load, add_sizes, add_stop
from server.config.network_flags import add_access, add_log, add_network
from server.config.settings import MIB, Settings

# In the order of --help.
_GROUPS = (add_network, add_access, add_engine, add_checks, add_load, add_sizes, add_stop, add_log)


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line and the environment; exits with code 2 if they cannot be used."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    for name in ("inflight", "body", "clip"):
        flags[f"max_{name}_bytes"] = flags.pop(f"max_{name}_mb") * MIB
    if flags["max_inflight_bytes"] < flags["max_body_bytes"] + flags["max_clip_bytes"]:
        parser.error("--max-inflight-mb is less than one request of --max-body-mb and --max-clip-mb may hold")
    name = flags.pop("bundle")
    if name is not None:
        return Settings(bundle=find_bundle(name), **flags)
    chosen = default_bundle()
    return Settings(bundle=chosen.path, bundle_reason=chosen.reason, **flags)


def _parser() -> Parser:
    parser = Parser("serve", env_prefix="VJEPA_", description="Serve an engine bundle over HTTP.")
    parser.add(
        "bundle",
        nargs="?",
        default=os.environ.get("VJEPA_BUNDLE"),
        help="Directory of the engine bundle, or the name of a bundle in engines/bundles. Without it: the bundle"
        " that `export use` pinned, else the newest verified one that runs on this machine, else the newest unverified"
        " one, else the demo. [env var: VJEPA_BUNDLE]",
    )
    for add_flags in _GROUPS:
        add_flags(parser)
    for name in ("--http-workers", "--http-worker-timeout-s"):
        parser.add(name, action=_Retired, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


class _Retired(argparse.Action):
    """A flag of an earlier release; a start with it ends with a message that says what to do instead."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            f"{self.option_strings[0]} is gone, because one process serves more clips than a GPU computes; for several"
            " GPUs run one instance for each behind a load balancer (docs/internals/decisions/2026-11-one-process.md)"
        )
