"""The pages and the documents of the API, and the files that they load."""

from __future__ import annotations

import logging
from http import HTTPStatus

from server.api.docs import examples, pages
from server.api.live import page
from server.errors import NotReadyError
from server.http.endpoint import Endpoint, Policy, ResponseBody

_OK = HTTPStatus.OK
_PAGE = Policy(needs_key=False)
_PAGE_HEADERS = ("Content-Security-Policy",)

DOCUMENTS = (
    Endpoint(
        "GET",
        "/live",
        page.page,
        name="page",
        tag="documents",
        summary="The page: try the model, watch streams, see the service",
        answers={_OK: ResponseBody("An HTML page.", examples.PAGE, media_type=pages.HTML_TYPE, headers=_PAGE_HEADERS)},
        policy=_PAGE,
    ),
    Endpoint(
        "GET",
        "/openapi.json",
        pages.document,
        name="document",
        tag="documents",
        summary="This document as OpenAPI",
        answers={_OK: ResponseBody("The OpenAPI 3.1 document for the model in service.", examples.DOCUMENT)},
        errors=(NotReadyError,),
        policy=_PAGE,
    ),
    Endpoint(
        "GET",
        "/asyncapi.json",
        pages.stream_document,
        name="stream_document",
        tag="documents",
        summary="The stream, a WebSocket, as AsyncAPI",
        answers={_OK: ResponseBody("The AsyncAPI 3 document of `/api/v1/stream`.", examples.STREAM_DOCUMENT)},
        policy=_PAGE,
    ),
    Endpoint(
        "GET",
        "/docs",
        pages.swagger_ui,
        name="swagger_ui",
        tag="documents",
        summary="Swagger UI: this document with forms to send requests",
        answers={_OK: ResponseBody("An HTML page.", examples.PAGE, media_type=pages.HTML_TYPE, headers=_PAGE_HEADERS)},
        policy=_PAGE,
    ),
    Endpoint(
        "GET",
        "/redoc",
        pages.redoc,
        name="redoc",
        tag="documents",
        summary="ReDoc: this document for reading",
        answers={_OK: ResponseBody("An HTML page.", examples.PAGE, media_type=pages.HTML_TYPE, headers=_PAGE_HEADERS)},
        policy=_PAGE,
    ),
)
ASSETS = (
    Endpoint(
        "GET",
        "/live/{digest}/{name:.+}",
        page.asset,
        name="page_asset",
        tag="documents",
        summary="Scripts, styles and videos of the page",
        answers={_OK: ResponseBody("A file of the page.", "", media_type="text/javascript")},
        policy=Policy(needs_key=False, documented=False, log_level=logging.DEBUG),
    ),
    Endpoint(
        "GET",
        "/docs/{asset}",
        pages.asset,
        name="asset",
        tag="documents",
        summary="Scripts and style sheets of the pages",
        answers={_OK: ResponseBody("A script or a style sheet.", "", media_type="text/javascript")},
        policy=Policy(needs_key=False, documented=False),
    ),
)
