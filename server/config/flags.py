"""Reads settings from the command line and the ``VJEPA_*`` environment; a flag overrides the environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from typing import NoReturn

from commandline.parser import Parser
from commandline.values import comma_separated
from engines.runtimes.default_bundle import default_bundle
from server.config.engine_flags import add_checks, add_engine
from server.config.load_flags import add_load, add_sizes, add_stop, add_videos
from server.config.model_sources import read_sources, source_of, weighted
from server.config.network_flags import add_access, add_log, add_network
from server.config.settings import MIB, Settings

# In the order of --help.
_GROUPS = (add_network, add_access, add_engine, add_checks, add_load, add_sizes, add_videos, add_stop, add_log)


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line and the environment; exits with code 2 if they cannot be used."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    for name in ("inflight", "body", "clip", "video"):
        flags[f"max_{name}_bytes"] = flags.pop(f"max_{name}_mb") * MIB
    flags["device_ring_bytes"] = flags.pop("device_ring_mb") * MIB
    if flags["max_inflight_bytes"] < flags["max_body_bytes"] + flags["max_clip_bytes"]:
        parser.error("--max-inflight-mb is less than one request of --max-body-mb and --max-clip-mb may hold")
    bundles, weights = flags.pop("bundles"), flags.pop("model_weights")
    try:
        if bundles:
            sources, directories = read_sources(bundles)
            return Settings(models=weighted(sources, weights), directories=directories, **flags)
        chosen = default_bundle()
        sources = weighted([source_of(chosen.path)], weights)
        return Settings(models=sources, bundle_reason=chosen.reason, **flags)
    except ValueError as error:
        parser.error(str(error))


def _parser() -> Parser:
    parser = Parser("serve", env_prefix="VJEPA_", description="Serve an engine bundle over HTTP.")
    parser.add(
        "bundles",
        nargs="*",
        metavar="BUNDLE",
        default=comma_separated(os.environ.get("VJEPA_BUNDLE", "")),
        help="Directory of an engine bundle, or the name of a bundle in engines/bundles, or a directory of bundles, of"
        " which all are served. Each is a model under the name of its directory, or under NAME with NAME=BUNDLE; the"
        " first is the default of requests that name no model. Without any: the bundle that `export use` pinned, else"
        " the newest verified one that runs on this machine, else the newest unverified one, else the demo."
        " [env var: VJEPA_BUNDLE, with commas between several]",
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
