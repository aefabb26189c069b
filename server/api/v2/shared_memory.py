"""Regions of system shared memory: registered, listed and forgotten; CUDA's are always none."""

from __future__ import annotations

from typing import Annotated

import msgspec
from aiohttp import web
from msgspec import Meta

from server.clips.lease import Lease
from server.clips.tensors.infer_body import Size
from server.clips.tensors.regions import Region, Regions
from server.clips.tensors.tensor_reader import FindRegion
from server.errors import InvalidError, NotFoundError, UnreadableError, shown
from server.http.context import SERVICE
from server.http.request_body import RequestBody

SHARED_MEMORY_EXTENSION = "system_shared_memory"
REGIONS: web.AppKey[Regions] = web.AppKey("regions", Regions)

_MOST_BODY_BYTES = 64 * 2**10
_MOST_NAME_CHARACTERS = 256


class RegisterBody(msgspec.Struct):
    """The object of shm_open that a region is in, and the region's place in it."""

    key: Annotated[str, Meta(max_length=_MOST_NAME_CHARACTERS)]
    byte_size: Size
    offset: Size = 0


class RegionStatus(msgspec.Struct):
    """A registered region."""

    name: str
    key: str
    offset: int
    byte_size: int


def is_shared_memory_on(request: web.Request) -> bool:
    return request.app[SERVICE].settings.v2_shared_memory


def region_finder(request: web.Request) -> FindRegion:
    """Finds the regions that requests may use; raises NotFoundError for all while shared memory is off."""

    def find(name: str) -> Region:
        return _regions(request).find(name)

    return find


async def status(request: web.Request) -> web.Response:
    """One region or all."""
    regions, name = _regions(request), request.match_info.get("region")
    found = regions.all() if name is None else [regions.find(name)]
    told = [RegionStatus(one.name, one.key, one.offset, one.byte_size) for one in found]
    return web.Response(body=msgspec.json.encode(told), content_type="application/json")


async def register(request: web.Request) -> web.Response:
    """Open the object that the body names; raises InvalidError."""
    regions, name = _regions(request), request.match_info["region"]
    if len(name) > _MOST_NAME_CHARACTERS:
        raise InvalidError(
            f"the name has {len(name)} characters; accepted: at most {_MOST_NAME_CHARACTERS}", field="name"
        )
    asked = _parsed(await read_small(request))
    regions.register(name, asked.key, asked.offset, asked.byte_size)
    return _done()


async def unregister(request: web.Request) -> web.Response:
    """Forget one region or all; requests that use them go on."""
    regions, name = _regions(request), request.match_info.get("region")
    if name is None:
        regions.unregister_all()
    else:
        regions.unregister(name)
    return _done()


async def cuda_status(request: web.Request) -> web.Response:
    """No region, because none can be registered."""
    return web.Response(body=b"[]", content_type="application/json")


async def cuda_unregister(request: web.Request) -> web.Response:
    """Forget all regions, which are none; load generators ask for it before they begin."""
    return _done()


def _regions(request: web.Request) -> Regions:
    if not is_shared_memory_on(request):
        raise NotFoundError("shared memory is off; the service has it with --v2-shared-memory")
    return request.app[REGIONS]


async def read_small(request: web.Request) -> bytearray:
    """The body of a request that only asks; raises TooLargeError and what reading raises."""
    service = request.app[SERVICE]
    with Lease() as lease:
        memory = lease.take(service.admission.request_memory())
        timeout_s, threads = service.settings.body_timeout_s, service.decode_threads
        return await RequestBody(request, _MOST_BODY_BYTES, timeout_s, memory, lease, threads).read()


def _parsed(body: bytearray) -> RegisterBody:
    try:
        return msgspec.json.decode(body, type=RegisterBody)
    except msgspec.ValidationError as error:
        raise InvalidError(f"the body is no registration: {shown(str(error))}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"the body is not JSON: {shown(str(error))}") from None


def _done() -> web.Response:
    return web.Response(body=b"{}", content_type="application/json")
