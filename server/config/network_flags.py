"""The flags of connections, access and logs; each help text says why one would change the flag."""

from __future__ import annotations

from pathlib import Path

from commandline.parser import Parser
from commandline.values import comma_separated, integer
from server.config.settings import Settings


def add_network(parser: Parser) -> None:
    """Where the service listens, and what it takes from connections."""
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
    """Who may ask, how often, and from which pages."""
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
        "--teaching",
        type=Path,
        metavar="DIR",
        help="Directory for what heads are taught from in the view Actions of the page, which is off without it. Use it"
        " to record examples and to teach heads in a browser. Whoever has a key, or may reach a service without keys,"
        " can then add and remove examples and change the heads in service.",
    )
    parser.add(
        "--v2-shared-memory",
        action="store_true",
        help="Let clients of the Open Inference Protocol put tensors into shared memory of this machine, which takes"
        " less than half of the CPU time. Use it only if all clients may read and change each other's regions.",
    )
    parser.add(
        "--cors-origins",
        type=comma_separated,
        default=Settings.cors_origins,
        metavar="ORIGINS",
        help="Origins of web pages whose scripts may send requests, separated by commas; * allows all. Set it if a"
        " web page of yours calls the service.",
    )


def add_log(parser: Parser) -> None:
    """What is logged, and how."""
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
