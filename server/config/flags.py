"""The command line and the ``VJEPA_*`` environment: flag before environment before default."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, get_args

import configargparse

from engines.options import Graphs
from engines.runtimes.registry import default_bundle
from engines.storage.bundle import find_bundle
from server.config.flag_types import between, devices, listed
from server.config.settings import LONGEST_DEADLINE_MS, MIB, Settings


def parse_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Settings from the command line and the environment; exits with code 2 on what cannot be used."""
    parser = _parser()
    flags = vars(parser.parse_args(arguments))
    for name in ("inflight", "body", "clip"):
        flags[f"max_{name}_bytes"] = flags.pop(f"max_{name}_mb") * MIB
    if flags["max_inflight_bytes"] < flags["max_body_bytes"] + flags["max_clip_bytes"]:
        parser.error("--max-inflight-mb is less than one request of --max-body-mb and --max-clip-mb takes")
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
        help="bundle directory, or the name of one in engines/bundles; left out: the newest one built here that this"
        " machine can run, else the demo [env var: VJEPA_BUNDLE]",
    )
    for add_flags in (_add_network, _add_access, _add_engine, _add_load, _add_sizes, _add_stop, _add_log):
        add_flags(parser)
    for name in ("--http-workers", "--http-worker-timeout-s"):
        parser.add(name, action=_Retired, default=configargparse.SUPPRESS, help=configargparse.SUPPRESS)
    return parser


class _Retired(argparse.Action):
    """A flag of an earlier release; using it ends the start with what to do instead."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        parser.error(
            f"{self.option_strings[0]} is gone, because one process serves more clips than a GPU computes; for several"
            " GPUs run one instance for each behind a load balancer (docs/decisions/2026-11-one-process.md)"
        )


def _add_network(parser: configargparse.ArgParser) -> None:
    parser.add("--host", default=Settings.host, help="0.0.0.0 to be reached from other machines and containers")
    parser.add("--port", type=between(0, 65535), default=Settings.port, help="0 takes a free one and logs it")
    parser.add(
        "--max-connections",
        type=between(1, 1_000_000),
        default=Settings.max_connections,
        help="clients connected at once before new ones get 503; raise it for more cameras than that",
    )
    parser.add(
        "--header-timeout-s",
        type=between(1, 3600),
        default=Settings.header_timeout_s,
        help="from a request's first byte to the end of its header, then 408; raise it for very bad links",
    )
    parser.add(
        "--body-timeout-s",
        type=between(1, 3600),
        default=Settings.body_timeout_s,
        help="for the body after that, then 408; raise it when large clips come over slow links",
    )
    parser.add(
        "--write-timeout-s",
        type=between(1, 3600),
        default=Settings.write_timeout_s,
        help="a client that does not read its answers for so long is disconnected; raise it for very bad links",
    )
    parser.add(
        "--keepalive-timeout-s",
        type=between(1, 86400),
        default=Settings.keepalive_timeout_s,
        help="how long an idle connection stays open; longer than your load balancer's, which else meets closed ones",
    )


def _add_access(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--api-key-file",
        type=Path,
        help="one key a line, read again when it changes; everything but /health and documents then needs"
        " `Authorization: Bearer KEY`; for every network that others share",
    )
    parser.add(
        "--rate-limit",
        metavar="RATE",
        help="20/second or 1000/hour for each key (without keys: each address), then 429; keeps one client from"
        " taking the whole engine",
    )
    parser.add(
        "--cors-origins",
        type=listed,
        default=Settings.cors_origins,
        metavar="ORIGINS",
        help="origins of web pages that may ask from a browser, with commas between, * for all",
    )


def _add_engine(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--device",
        dest="devices",
        type=devices,
        default=Settings.devices,
        metavar="cuda:N",
        help="GPUs to run on when the machine has several, with commas between: each gets an engine of its own, and the"
        " clip that waits longest goes to the one with the least to do; cuda is all, cpu none; left out: the first",
    )
    parser.add(
        "--lanes",
        type=between(0, 8),
        default=Settings.lanes,
        help="batches on a GPU at once: with 2 the next one is copied up and preprocessed while one computes, 1 takes"
        " less device memory; 0 is 2 on a GPU and 1 elsewhere",
    )
    parser.add(
        "--cuda-graphs",
        choices=get_args(Graphs),
        default=Settings.cuda_graphs,
        help="what is launched on a GPU as one graph: preprocessing and network (whole), the network alone, or none,"
        " which is slower but simpler to look into",
    )
    parser.add(
        "--threads",
        type=between(0, 1024),
        default=Settings.threads,
        help="cores the engine takes, 0 for all; fewer leave room for other programs on the machine",
    )
    parser.add(
        "--decode-threads",
        type=between(0, 1024),
        default=Settings.decode_threads,
        help="threads that decode clips, or images of a clip, 0 for one a core up to 8; fewer"
        " leave cores to an engine on the CPU, more help when many clients send images",
    )
    parser.add(
        "--batch-wait-ms",
        type=between(0, 10_000),
        default=Settings.batch_wait_ms,
        help="how long an idle engine waits for its batch to fill; fuller batches for later answers, so rarely wise",
    )
    parser.add(
        "--engine-timeout-ms",
        type=between(1, 3_600_000),
        default=Settings.engine_timeout_ms,
        help="a batch that takes longer means that the engine hangs: the process ends, for its supervisor to restart;"
        " several times your slowest batch",
    )
    parser.add(
        "--bundle-poll-s",
        type=between(0, 86400),
        default=Settings.bundle_poll_s,
        help="how often to look whether the bundle has changed and is to be swapped in; 0 swaps on SIGHUP only",
    )


def _add_load(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--deadline-ms",
        type=between(1, LONGEST_DEADLINE_MS),
        default=Settings.deadline_ms,
        help="from a request's first byte to its answer, then 504, where X-Deadline-Ms says nothing else; what your"
        " clients wait",
    )
    parser.add(
        "--queue-size",
        type=between(1, 1_000_000),
        default=Settings.queue_size,
        help="clips in decoding, queue and engine at once before new ones get 503; bounds waiting time, so several"
        " times the engine's batch, and not more than it does within a deadline",
    )
    parser.add(
        "--max-inflight-mb",
        type=between(1, 1_048_576),
        default=Settings.max_inflight_bytes // MIB,
        help="MiB of bodies and pixels held at once before new ones get 503; bounds memory",
    )


def _add_sizes(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--max-body-mb",
        type=between(1, 4096),
        default=Settings.max_body_bytes // MIB,
        help="largest request body in MiB; raise it for raw frames above 1280 x 720",
    )
    parser.add(
        "--max-clip-mb",
        type=between(1, 16384),
        default=Settings.max_clip_bytes // MIB,
        help="largest decoded clip in MiB (16 frames of 1920 x 1080 are 95); raise it for 4K images",
    )


def _add_stop(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--drain-delay-s",
        type=between(0, 3600),
        default=Settings.drain_delay_s,
        help="on SIGTERM, how long requests are still taken while /health/ready says 503: as long as your load balancer"
        " needs to notice",
    )
    parser.add(
        "--drain-timeout-s",
        type=between(0, 3600),
        default=Settings.drain_timeout_s,
        help="how long a stop then waits for requests in flight; with the delay, less than what your orchestrator waits"
        " before it kills",
    )


def _add_log(parser: configargparse.ArgParser) -> None:
    parser.add(
        "--log-format",
        choices=("auto", "json", "text"),
        default=Settings.log_format,
        help="json for log collectors, text for people; auto is text on a terminal",
    )
    parser.add(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=Settings.log_level,
        help="warning leaves out the line per request",
    )
    parser.add(
        "--tracing",
        action="store_true",
        help="send OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT; needs the extra `tracing`",
    )
