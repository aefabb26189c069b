"""The flags of the engine and of its checks; each help text says why one would change the flag."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import get_args

from commandline.parser import Parser
from commandline.programs import command
from commandline.values import checked, comma_separated, integer, number
from engines.options import MIB, Graphs
from server.config.model_sources import read_weights
from server.config.settings import Settings


def add_engine(parser: Parser) -> None:
    """Which engine, on which devices, and which bundles and heads it may be."""
    parser.add(
        "--device",
        dest="devices",
        type=_devices,
        default=Settings.devices,
        metavar="cuda:N",
        help="GPUs to run on, separated by commas; cuda means all GPUs, cpu means none, and the default is the first"
        " GPU. Name several to serve more clips: each GPU gets its own engine, and the oldest clip goes to the engine"
        " with the least work.",
    )
    parser.add(
        "--model-weights",
        type=checked(read_weights),
        default={},
        metavar="NAME=WEIGHT",
        help="Shares of a GPU's time, separated by commas, while several models on it have clips waiting; 1 for those"
        " that are not named. Raise the weight of the model whose answers must not wait for those of others.",
    )
    parser.add(
        "--lanes",
        type=integer(0, 8),
        default=Settings.lanes,
        help="Batches that are on a GPU at once. With 2, the next batch is copied and preprocessed while one"
        " computes; 1 takes less device memory. 0 means 2 on a GPU and 1 elsewhere.",
    )
    parser.add(
        "--device-ring-mb",
        type=integer(0, 65536),
        default=Settings.device_ring_bytes // MIB,
        help="Memory of each engine on a GPU, in MiB, for the frames of streams, so that a frame is copied to the GPU"
        " once although several windows have it. A stream of 16 frames at 256 pixels takes 3 to 6. Raise it for more"
        " cameras; frames without room are copied with each window. Use 0 if device memory is short.",
    )
    parser.add(
        "--cuda-graphs",
        choices=get_args(Graphs),
        default=Settings.cuda_graphs,
        help="Which part of a batch a GPU runs as one CUDA graph: preprocessing and network (whole), only the"
        " network, or nothing (none). none is slower, but easier to profile and to debug.",
    )
    parser.add(
        "--threads",
        type=integer(0, 1024),
        default=Settings.threads,
        help="CPU cores that the engine uses; 0 means all. Use fewer to leave cores to other programs.",
    )
    parser.add(
        "--decode-threads",
        type=integer(0, 1024),
        default=Settings.decode_threads,
        help="Threads that decode clips and images; 0 means one per core, at most 8. Use fewer to leave cores to an"
        " engine on the CPU, and more if many clients send images.",
    )
    parser.add(
        "--decode-timeout-ms",
        type=integer(1, 3_600_000),
        default=Settings.decode_timeout_ms,
        help="Milliseconds at one image after which a decode thread counts as stuck. /health/ready answers 503 while"
        " all of them are. Raise it on slow machines that decode very large images.",
    )
    parser.add(
        "--batch-wait-ms",
        type=integer(0, 10_000),
        default=Settings.batch_wait_ms,
        help="Milliseconds that an idle engine waits for its batch to fill. Fuller batches increase the throughput,"
        " but delay the answers, so that this rarely helps.",
    )
    parser.add(
        "--engine-timeout-ms",
        type=integer(1, 3_600_000),
        default=Settings.engine_timeout_ms,
        help="Milliseconds after which a running batch means that the engine hangs. The process then ends, so that"
        " its supervisor restarts it. Set it to several times the duration of your slowest batch.",
    )
    parser.add(
        "--bundle-poll-s",
        type=integer(0, 86400),
        default=Settings.bundle_poll_s,
        help="Seconds between checks whether the bundle or a head has changed and has to be reloaded. 0 turns the"
        " checks off, so that only SIGHUP reloads the bundle, and heads stay as they were at the start.",
    )
    parser.add(
        "--heads",
        type=Path,
        default=Settings.heads,
        metavar="DIR",
        help="Directory of the heads that were taught, which are served as they come, change and go. Give another one"
        " to keep them outside the program, for example on a volume.",
    )
    parser.add(
        "--bundle-sha256",
        type=_digests,
        default=Settings.bundle_sha256,
        metavar="SHA256",
        help="Digests of the bundles that may be loaded, at the start and at each reload, separated by commas; without"
        f" it, any bundle may. `{command('export', 'show', 'BUNDLE')}` prints the digest. Use it if others can write"
        " to the bundle, or to be sure what is served.",
    )
    parser.add(
        "--trust-writable-bundles",
        action="store_true",
        help="Load torch programs and TensorRT plans, which are code, also from files and directories that other users"
        " may write. Use it only if you trust every one of these users as much as yourself.",
    )


def add_checks(parser: Parser) -> None:
    """How an engine in service and a new one are checked."""
    parser.add(
        "--canary-s",
        type=integer(0, 86400, other="off"),
        default=Settings.canary_s,
        metavar="SECONDS",
        help="Seconds within which each engine classifies one of the bundle's reference clips, if possible while it is"
        " idle. An engine whose answer is not the known one is lost. `off` turns the checks off: use it if every"
        " millisecond of the engine is needed.",
    )
    parser.add(
        "--swap-clips",
        type=integer(0, 1024),
        default=Settings.swap_clips,
        help="Number of the latest clips of clients that are kept in memory, so that a reload can compare the answers"
        " of both engines to them. Use 0 if no picture may be kept after its answer.",
    )
    parser.add(
        "--swap-max-disagreement",
        type=number(0, 1),
        default=Settings.swap_max_disagreement,
        metavar="SHARE",
        help="Largest share of the compared clips, from 0 to 1, whose most probable action may be another with the new"
        " engine; else a reload keeps the old one. Set it if bundles are replaced without a person who looks.",
    )


def _devices(text: str) -> tuple[str, ...]:
    """Different devices of one kind; raises argparse.ArgumentTypeError."""
    names = comma_separated(text)
    for name in names:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
            raise argparse.ArgumentTypeError(f"{name!r} is not a device; accepted: cuda:0, cuda:1, ..., cuda or cpu")
    if len(set(names)) < len(names) or (len(names) > 1 and {"cuda", "cpu"} & set(names)):
        raise argparse.ArgumentTypeError(f"{text}: name each device once, and cpu or cuda (all GPUs) only alone")
    return names


def _digests(text: str) -> tuple[str, ...]:
    """SHA-256 digests in hexadecimal; raises argparse.ArgumentTypeError, also for none, which would pin nothing."""
    digests = comma_separated(text.lower())
    for digest in digests or ("",):
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise argparse.ArgumentTypeError(f"{digest!r} is not a SHA-256 digest; accepted: 64 hexadecimal digits")
    return digests
