"""The flags of the server, in groups; each help text says why somebody would change the flag."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import get_args

from commandline.parser import Parser
from commandline.programs import command
from commandline.values import integer, number
from engines.options import Graphs
from server.config.settings import LONGEST_DEADLINE_MS, MIB, Settings


def add_network(parser: Parser) -> None:
    parser.add(
        "--host",
        default=Settings.host,
        help="Address to listen on. Use 0.0.0.0 if other machines or containers have to reach the service.",
    )
    parser.add(
        "--port",
        type=integer(0, 65535),
        default=Settings.port,
        help="Port to listen on. 0 picks a free port, which is logged.",
    )
    parser.add(
        "--max-connections",
        type=integer(1, 1_000_000),
        default=Settings.max_connections,
        help="Largest number of open connections, each of which takes an open file. Further connections get 503."
        " Raise it to serve more cameras.",
    )
    parser.add(
        "--max-streams",
        type=integer(0, 100_000),
        default=Settings.max_streams,
        help="Largest number of open streams; 0 accepts none. Further streams get 503. Raise it together with"
        " --max-inflight-mb to serve more cameras: a stream holds the crops of two windows, 6 MiB at 256 pixels.",
    )
    parser.add(
        "--no-previews",
        dest="previews",
        action="store_false",
        help="Keep no picture of the open streams for /live and /api/v1/events, not even in memory while somebody"
        " watches. Use it if nobody may see what the cameras see.",
    )
    parser.add(
        "--header-timeout-s",
        type=integer(1, 3600),
        default=Settings.header_timeout_s,
        help="Seconds from the first byte of a request to the end of its header, after which it gets 408. Raise it"
        " for clients with very bad links.",
    )
    parser.add(
        "--body-timeout-s",
        type=integer(1, 3600),
        default=Settings.body_timeout_s,
        help="Seconds for the body after the header, after which the request gets 408. Raise it for large clips over"
        " slow links.",
    )
    parser.add(
        "--write-timeout-s",
        type=integer(1, 3600),
        default=Settings.write_timeout_s,
        help="Seconds for which a client may leave its answers unread before it is disconnected. Raise it for very bad"
        " links.",
    )
    parser.add(
        "--keepalive-timeout-s",
        type=integer(1, 86400),
        default=Settings.keepalive_timeout_s,
        help="Seconds that an idle connection stays open. Set it higher than the keep-alive timeout of your load"
        " balancer, which otherwise sends requests over connections that the service is closing.",
    )


def add_access(parser: Parser) -> None:
    parser.add(
        "--api-key-file",
        type=Path,
        help="File with one API key per line, read again when it changes. Requests then need `Authorization: Bearer"
        " KEY`, except for /health and the API documents. Use it on every network that you share with others.",
    )
    parser.add(
        "--rate-limit",
        metavar="RATE",
        help="Largest rate of requests for each key, or for each address if there are no keys, such as 20/second or"
        " 1000/hour. Further requests get 429. Use it so that one client cannot take the whole engine.",
    )
    parser.add(
        "--v2-shared-memory",
        action="store_true",
        help="Let clients of the Open Inference Protocol put tensors into shared memory of this machine, which takes"
        " less than half of the CPU time. Use it only if all clients may read and change each other's regions.",
    )
    parser.add(
        "--cors-origins",
        type=_comma_separated,
        default=Settings.cors_origins,
        metavar="ORIGINS",
        help="Origins of web pages whose scripts may send requests, separated by commas; * allows all. Set it if a"
        " web page of yours calls the service.",
    )


def add_engine(parser: Parser) -> None:
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
        "--lanes",
        type=integer(0, 8),
        default=Settings.lanes,
        help="Batches that are on a GPU at once. With 2, the next batch is copied and preprocessed while one"
        " computes; 1 takes less device memory. 0 means 2 on a GPU and 1 elsewhere.",
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


def add_load(parser: Parser) -> None:
    parser.add(
        "--deadline-ms",
        type=integer(1, LONGEST_DEADLINE_MS),
        default=Settings.deadline_ms,
        help="Milliseconds from the first byte of a request to its answer, after which it gets 504. The header"
        " X-Deadline-Ms overrides it. Set it to the time that your clients wait.",
    )
    parser.add(
        "--queue-size",
        type=integer(1, 1_000_000),
        default=Settings.queue_size,
        help="Largest number of clips in decoding, queue and engine. Further clips get 503. It bounds the waiting"
        " time: use several times the batch size, but not more clips than the engine classifies within a deadline.",
    )
    parser.add(
        "--max-inflight-mb",
        type=integer(1, 1_048_576),
        default=Settings.max_inflight_bytes // MIB,
        help="MiB of bodies and pixels that all requests may hold together. Further requests get 503. Lower it on"
        " machines with little memory; raise it for many large clips at once.",
    )


def add_sizes(parser: Parser) -> None:
    parser.add(
        "--max-body-mb",
        type=integer(1, 4096),
        default=Settings.max_body_bytes // MIB,
        help="Largest request body in MiB. Raise it for raw frames above 1280 x 720.",
    )
    parser.add(
        "--max-clip-mb",
        type=integer(1, 16384),
        default=Settings.max_clip_bytes // MIB,
        help="Largest decoded clip in MiB; 16 frames of 1920 x 1080 take 95. Raise it for 4K images.",
    )


def add_stop(parser: Parser) -> None:
    parser.add(
        "--drain-delay-s",
        type=integer(0, 3600),
        default=Settings.drain_delay_s,
        help="Seconds after SIGTERM in which requests are still accepted while /health/ready already returns 503. Set"
        " it to the time that your load balancer needs to notice.",
    )
    parser.add(
        "--drain-timeout-s",
        type=integer(0, 3600),
        default=Settings.drain_timeout_s,
        help="Seconds that a stop then waits for accepted requests. Together with the delay, keep it below the time"
        " after which your orchestrator kills the process.",
    )


def add_log(parser: Parser) -> None:
    parser.add(
        "--log-format",
        choices=("auto", "json", "text"),
        default=Settings.log_format,
        help="Format of the log: json for log collectors, text for people. auto means text on a terminal, else json.",
    )
    parser.add(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default=Settings.log_level,
        help="Least severe level that is logged. Use warning to leave out the line for each request.",
    )
    parser.add(
        "--tracing",
        action="store_true",
        help="Send OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT, to follow requests through several services."
        " It needs the extra `tracing`.",
    )


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _devices(text: str) -> tuple[str, ...]:
    """Different devices of one kind; raises argparse.ArgumentTypeError."""
    names = _comma_separated(text)
    for name in names:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
            raise argparse.ArgumentTypeError(f"{name!r} is not a device; accepted: cuda:0, cuda:1, ..., cuda or cpu")
    if len(set(names)) < len(names) or (len(names) > 1 and {"cuda", "cpu"} & set(names)):
        raise argparse.ArgumentTypeError(f"{text}: name each device once, and cpu or cuda (all GPUs) only alone")
    return names


def _digests(text: str) -> tuple[str, ...]:
    """SHA-256 digests in hexadecimal; raises argparse.ArgumentTypeError, also for none, which would pin nothing."""
    digests = _comma_separated(text.lower())
    for digest in digests or ("",):
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise argparse.ArgumentTypeError(f"{digest!r} is not a SHA-256 digest; accepted: 64 hexadecimal digits")
    return digests


GROUPS = (add_network, add_access, add_engine, add_checks, add_load, add_sizes, add_stop, add_log)
