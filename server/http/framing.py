"""Requests whose version, or whose way to mark the end of their body, this service does not speak."""

from __future__ import annotations

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from server.errors import FramingError, VersionError, shown

ACCEPTED_VERSIONS = (HttpVersion11, HttpVersion10)


def check_framing(request: web.BaseRequest) -> None:
    """The connection must be closed after a request for which this raises.

    Raises:
        VersionError: neither HTTP/1.1 nor HTTP/1.0.
        FramingError: transfer codings besides chunks, which aiohttp takes for plain bytes, or any in HTTP/1.0, where
            proxies may see another end of the body (RFC 9112, 6.1).
    """
    version = request.version
    if version not in ACCEPTED_VERSIONS:
        raise VersionError(f"the version is HTTP/{version.major}.{version.minor}; accepted: HTTP/1.1, HTTP/1.0")
    coding = request.headers.get(hdrs.TRANSFER_ENCODING)
    if coding is None:
        return
    if version == HttpVersion10:
        raise FramingError(
            "Transfer-Encoding came with HTTP/1.0; accepted: Content-Length, or HTTP/1.1", field="Transfer-Encoding"
        )
    if coding.lower() != "chunked":
        raise FramingError(f"Transfer-Encoding is {shown(coding)}; accepted: chunked", field="Transfer-Encoding")


def is_well_framed(request: web.BaseRequest) -> bool:
    """Whether ``check_framing`` accepts ``request``."""
    try:
        check_framing(request)
    except FramingError:
        return False
    return True
