"""The OpenAPI document is valid, complete, and describes the server that serves it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from engines.storage.bundle import DEMO, open_bundle
from server.api.docs.examples import ERRORS
from server.errors import RequestError
from server.http.problem import STATUS_BY_ERROR
from tests.live_server import LiveServer, serving
from tests.server.peers import clients

Document = dict[str, Any]


@pytest.fixture
async def document(session: aiohttp.ClientSession) -> Document:
    async with session.get("/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return dict(await response.json())


def _operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _media(document: Document) -> Iterator[tuple[Document, Document]]:
    """Each schema of a body with each of its examples."""
    for _, _, operation in _operations(document):
        bodies = [operation.get("requestBody", {"content": {}}), *operation["responses"].values()]
        for media in (media for body in bodies for media in body["content"].values()):
            examples = [media["example"]] if "example" in media else _values(media)
            yield from ((media["schema"], example) for example in examples)


def _values(media: Document) -> list[Any]:
    return [example["value"] for example in media.get("examples", {}).values()]


def _check(document: Document, schema: Document, value: Any) -> None:
    """Validate ``value`` by ``schema``, which may refer to components of ``document``."""
    jsonschema.Draft202012Validator(document | schema).validate(value)


async def test_document_is_valid_openapi_3_1(document: Document) -> None:
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


async def test_document_describes_a_model_with_other_frames_and_labels(odd_bundle: Path) -> None:
    with serving(odd_bundle) as server:
        async with clients(server) as session, session.get("/openapi.json") as response:
            document = await response.json()
            body = document["paths"]["/api/v1/infer"]["post"]["requestBody"]["content"]["application/json"]
            schema = body["schema"]["properties"]
            assert (schema["frames"]["minItems"], schema["frames"]["maxItems"]) == (12, 12)
            assert schema["top_k"]["maximum"] == 5
            clip = body["examples"]["clip"]["value"]
            async with session.post("/api/v1/infer", json=clip) as answer:
                assert answer.status == 200, await answer.text()
        OpenAPIV31SpecValidator(document).validate()
        assert await asyncio.to_thread(server.stop) == 0


async def test_document_has_exactly_the_routes_of_the_index(document: Document, session: aiohttp.ClientSession) -> None:
    async with session.get("/") as response:
        listed = (await response.json())["endpoints"]
    assert sorted(f"{method} {path}" for method, path, _ in _operations(document)) == listed


async def test_every_example_matches_its_schema(document: Document) -> None:
    pairs = list(_media(document))
    assert len(pairs) > 30
    for schema, example in pairs:
        _check(document, schema, example)


async def test_every_error_is_documented_with_an_example(document: Document) -> None:
    assert ERRORS.keys() == STATUS_BY_ERROR.keys()
    told = document["paths"]["/api/v1/infer"]["post"]["responses"]
    # Only a stream, which OpenAPI cannot describe, is refused for its origin.
    statuses = {status.value for status in STATUS_BY_ERROR.values()} - {403}
    of_protocol = document["paths"]["/v2/models/{model}/infer"]["post"]["responses"]
    assert {int(status) for status in of_protocol} == {200, 500} | statuses
    # Only the Open Inference Protocol names models.
    assert {int(status) for status in told} == {200, 500} | statuses - {404}
    assert all(isinstance(said.error, RequestError) and type(said.error) is kind for kind, said in ERRORS.items())


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/health",
        "/health/live",
        "/health/ready",
        "/api/v1/models",
        "/openapi.json",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/config",
        "/v2/models/{model}/stats",
    ],
)
async def test_answers_match_the_document(document: Document, session: aiohttp.ClientSession, path: str) -> None:
    async with session.get(path.format(model="demo")) as response:
        told = document["paths"][path]["get"]["responses"][str(response.status)]
        _check(document, told["content"][response.content_type]["schema"], await response.json())
        assert told["headers"].keys() <= response.headers.keys()


async def test_error_answers_match_the_document(document: Document, session: aiohttp.ClientSession) -> None:
    """Each error is provoked; its answer has the type of the example and the documented headers."""
    told = document["paths"]["/api/v1/infer"]["post"]["responses"]
    clip = document["paths"]["/api/v1/infer"]["post"]["requestBody"]["content"]["application/json"]["examples"]["clip"]
    whole = json.dumps(clip["value"])
    json_type = {"Content-Type": "application/json"}
    requests: dict[int, tuple[str | bytes, dict[str, str]]] = {
        400: (whole[:-2], json_type),
        413: (b" " * 100_000_000, json_type),
        415: (whole, {"Content-Type": "text/plain"}),
        422: (json.dumps(clip["value"] | {"frames": clip["value"]["frames"][1:]}), json_type),
        504: (whole, json_type | {"X-Deadline-Ms": "1"}),
    }
    for status, (body, headers) in requests.items():
        async with session.post("/api/v1/infer", data=body, headers=headers) as response:
            problem = await response.json(content_type="application/problem+json")
            assert response.status == status, problem
            media = told[str(status)]["content"]["application/problem+json"]
            _check(document, media["schema"], problem)
            (example,) = (example["value"] for example in media["examples"].values())
            assert (problem["type"], problem["title"], problem.get("field")) == (
                example["type"],
                example["title"],
                example.get("field"),
            )
            assert told[str(status)]["headers"].keys() <= response.headers.keys()
            if status in (413, 415, 422):
                assert problem["detail"] == example["detail"]


async def test_keys_are_documented_for_the_operations_that_need_them(tmp_path: Path) -> None:
    """Operations need a key exactly if the document says so; the API documents need none, for browsers."""
    (tmp_path / "keys").write_text("key\n")
    with serving(DEMO, "--api-key-file", str(tmp_path / "keys")) as server:
        async with clients(server) as session:
            async with session.get("/openapi.json") as response:
                document = await response.json()
            OpenAPIV31SpecValidator(document).validate()
            assert document["components"]["securitySchemes"] == {"key": {"type": "http", "scheme": "bearer"}}
            for method, path, operation in _operations(document):
                async with session.request(method, path.format(model="demo")) as response:
                    assert (response.status == 401) == ("security" in operation), path
                    assert ("401" in operation["responses"]) == ("security" in operation), path
                    if response.status == 401:
                        assert operation["responses"]["401"]["headers"].keys() <= response.headers.keys()
        assert await asyncio.to_thread(server.stop) == 0


async def test_models_endpoint_describes_the_bundle(session: aiohttp.ClientSession, live_server: LiveServer) -> None:
    manifest = open_bundle(DEMO).manifest
    async with session.get("/api/v1/models") as response:
        (model,) = (await response.json())["models"]
    assert (model["frames"], model["resize"], model["crop"]) == (16, 73, 64)
    assert model["labels"] == list(manifest.labels)
    assert (model["target"], model["max_batch"], model["random_weights"]) == ("openvino", 1, False)
    assert model["precision"] in ("fp32", "bf16")
    assert model["device"]
    assert model["versions"].items() >= manifest.built_with.items()
    assert model["versions"]["vjepa2-serve"]
