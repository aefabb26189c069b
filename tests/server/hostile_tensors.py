"""Requests of the Open Inference Protocol from clients that err or attack, drawn from a random generator."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from tests.server.tensors import HEAD_LENGTH, INFER, TensorRequest, images, in_region, json_images, json_pixels, pixels

DOCUMENTED = {200, 400, 404, 408, 413, 415, 422, 503, 504}

_CLIPS = np.random.default_rng(24).integers(0, 256, (1, 16, 6, 8, 3), np.uint8)
# Longer than the part of a body that comes through the HTTP parser.
_LARGER = np.random.default_rng(24).integers(0, 256, (1, 16, 30, 48, 3), np.uint8)
_FORMS = (
    pixels(_CLIPS),
    pixels(_LARGER, binary_data_output=True),
    json_pixels(_CLIPS, nested=False),
    json_pixels(_CLIPS, nested=True),
    images(_CLIPS),
    images(_LARGER, ".jpg"),
    json_images(_CLIPS, nested=True),
)
_NUMBERS = (0, 1, 2, 3, 15, 16, 17, 255, 256, -1, -(2**63), 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64, 10**400)
_VALUES = (
    *_NUMBERS,
    *(None, True, False, 0.5, 1e308, "", "1", "frames", "UINT8", "BYTES", "FP32", "\0", "\ud800", "x" * 5000),
    *([], {}, [[]], [None], [0] * 100, [[[[[[[[1]]]]]]]], {"binary_data_size": 10**30}, {"classification": 2}),
)
_TOKENS = (b"null", b"[", b"]" * 30, b"{", b'"', b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"9" * 500, b"[" * 3000)
_LENGTHS = ("", "-1", "0", "1", "9999999999", "9" * 18, "9" * 400, "1e3", "0x10", "1_0", " 7", "\u0663")
_NAMES = ("r0", "r1", "r2", "missing")


@dataclass
class Attacker:
    """Sends what ``rng`` draws; its shared memory is the files ``shared-N`` with the prefix ``key``."""

    session: aiohttp.ClientSession
    rng: random.Random
    folder: Path
    key: str
    model: str

    async def act(self) -> int | None:
        """Send one request, or change a file; returns the status of the answer, if it was a request."""
        roll = self.rng.random()
        if roll < 0.7:
            return await self._infer(self._request())
        if roll < 0.85:
            return await self._infer(self._in_region())
        if roll < 0.95:
            return await self._register()
        self._change_file()
        return None

    def clean_up(self) -> None:
        for number in range(len(_NAMES)):
            self._file(number).unlink(missing_ok=True)

    async def _infer(self, sent: tuple[bytes, dict[str, str]]) -> int:
        body, headers = sent
        return await self._post(INFER.format(self.model), data=body, headers=headers)

    async def _post(self, path: str, **request: Any) -> int:
        async with self.session.post(path, **request) as response:
            text = await response.read()
            if response.status != 200:
                problem = json.loads(text)
                assert problem["error"] == problem["detail"], problem
                assert problem["status"] == response.status
            return response.status

    def _request(self) -> tuple[bytes, dict[str, str]]:
        sent = copy.deepcopy(self.rng.choice(_FORMS))
        for _ in range(self.rng.choice((0, 1, 1, 2))):
            self._change_member(sent.head)
        return self._written(sent)

    def _in_region(self) -> tuple[bytes, dict[str, str]]:
        size = self.rng.choice((_CLIPS.nbytes, _CLIPS.nbytes, *_NUMBERS))
        name, offset = self.rng.choice(_NAMES), self.rng.choice((0, 0, 64, *_NUMBERS))
        kind = self.rng.choice(("UINT8", "UINT8", "BYTES"))
        sent = in_region(_CLIPS.shape if kind == "UINT8" else _CLIPS.shape[:2], kind, name, size, offset)
        if self.rng.random() < 0.5:
            place = {
                "shared_memory_region": self.rng.choice(_NAMES),
                "shared_memory_byte_size": self.rng.choice((44, *_NUMBERS)),
                "shared_memory_offset": self.rng.choice(_NUMBERS),
            }
            sent.head["outputs"] = [{"name": "probabilities", "parameters": place}]
        if self.rng.random() < 0.3:
            self._change_member(sent.head)
        return self._written(sent)

    def _written(self, sent: TensorRequest) -> tuple[bytes, dict[str, str]]:
        headers = sent.all_headers
        body = bytearray(sent.body)
        if self.rng.random() < 0.3:
            self.rng.choice(_MUTATIONS)(self.rng, body)
        if self.rng.random() < 0.2:
            near = len(sent.body) - len(sent.data) + self.rng.choice((-1, 1, 2, 1000))
            headers[HEAD_LENGTH] = self.rng.choice((*_LENGTHS, str(near)))
        if self.rng.random() < 0.05:
            headers["Content-Encoding"] = "gzip"
        if self.rng.random() < 0.05:
            headers["Content-Type"] = self.rng.choice(("text/plain", "multipart/form-data", "application/json", ";"))
        return bytes(body), headers

    def _change_member(self, head: dict[str, Any]) -> None:
        """Replace, remove or repeat one member, at any depth but not inside of data."""
        places: list[tuple[Any, Any]] = []
        _collect(head, places)
        if not places:
            return
        holder, name = self.rng.choice(places)
        match self.rng.randrange(6):
            case 0:
                del holder[name]
            case 1 if isinstance(holder, list):
                holder.extend([holder[name]] * self.rng.choice((1, 1000)))
            case 2 if isinstance(holder, dict):
                holder[self.rng.choice(("shared_memory_region", "binary_data_size", "data", "x"))] = holder[name]
            case _:
                holder[name] = copy.deepcopy(self.rng.choice(_VALUES))

    async def _register(self) -> int:
        name = self.rng.choice(_NAMES)
        if self.rng.random() < 0.3:
            return await self._post(f"/v2/systemsharedmemory/region/{name}/unregister")
        file = self._file(self.rng.randrange(len(_NAMES)))
        body = {
            "key": self.rng.choice((file.name, f"/{file.name}", "/../etc/passwd", "", *_VALUES)),
            "byte_size": self.rng.choice((_CLIPS.nbytes, 100, *_VALUES)),
            "offset": self.rng.choice((0, 64, *_VALUES)),
        }
        if self.rng.random() < 0.6:
            body = {"key": file.name, "byte_size": _CLIPS.nbytes, "offset": 0}
        return await self._post(f"/v2/systemsharedmemory/region/{name}/register", data=json.dumps(body))

    def _change_file(self) -> None:
        file = self._file(self.rng.randrange(len(_NAMES)))
        with contextlib.suppress(FileNotFoundError):
            match self.rng.randrange(4):
                case 0:
                    os.truncate(file, self.rng.choice((0, 1, 4096, _CLIPS.nbytes, 2**20)))
                case 1:
                    file.unlink()
                case _:
                    file.write_bytes(_CLIPS.tobytes())

    def _file(self, number: int) -> Path:
        return self.folder / f"{self.key}-{number}"


def _collect(value: Any, places: list[tuple[Any, Any]]) -> None:
    """The holder and the name of everything in ``value``."""
    names = list(value) if isinstance(value, dict) else range(min(len(value), 8))
    for name in names:
        places.append((value, name))
        if isinstance(value[name], (dict, list)) and name != "data":
            _collect(value[name], places)


def _flip(rng: random.Random, body: bytearray) -> None:
    for _ in range(rng.randint(1, 8)):
        body[rng.randrange(min(len(body), 600))] = rng.randrange(256)


def _cut(rng: random.Random, body: bytearray) -> None:
    at = rng.randrange(len(body))
    del body[at : at + rng.choice((1, 10, 1000, len(body)))]


def _insert(rng: random.Random, body: bytearray) -> None:
    at = rng.randrange(min(len(body), 600))
    body[at:at] = rng.choice(_TOKENS)


_MUTATIONS: tuple[Callable[[random.Random, bytearray], None], ...] = (_flip, _cut, _insert)
