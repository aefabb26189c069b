"""Small images that ask for much work: refused, or decoded at the cost of their pixels."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from server.clips.images import ImageError, decode_image
from tests.live_server import LiveServer
from tests.server.conftest import Post
from tests.server.requests import image_body

SIZE = 64
FRAME = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png_followed_by(excess_bytes: int) -> bytes:
    """FRAME, whose pixels are followed by zeros in the same compressed stream."""
    rows = b"".join(b"\0" + row.tobytes() for row in FRAME)
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    pixels = zlib.compress(rows + bytes(excess_bytes), 9)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is there many times."""
    encoded = io.BytesIO()
    Image.fromarray(FRAME).save(encoded, "JPEG", progressive=True)
    data = encoded.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def test_data_after_the_pixels_of_a_png_costs_nothing() -> None:
    plain, bomb = _png_followed_by(0), _png_followed_by(2**30)
    pixels = np.empty_like(FRAME)
    took_s = []
    for data in (plain, bomb):
        began_s = time.process_time()
        for _ in range(5):
            decode_image(data, "PNG", pixels)
        took_s.append(time.process_time() - began_s)
        np.testing.assert_array_equal(pixels, FRAME[..., ::-1])
    # To inflate the rest takes thousands of times as long as the pixels.
    assert took_s[1] < 100 * took_s[0]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "RGB 16"])
def test_pngs_of_every_kind_are_decoded_as_opencv_decodes_them(mode: str) -> None:
    if mode == "RGB 16":
        data = cv2.imencode(".png", FRAME.astype(np.uint16) * 257)[1].tobytes()
    elif mode == "I;16":
        data = cv2.imencode(".png", FRAME[..., 0].astype(np.uint16) * 257)[1].tobytes()
    else:
        encoded = io.BytesIO()
        Image.fromarray(FRAME).convert(mode).save(encoded, "PNG")
        data = encoded.getvalue()
    pixels = np.empty_like(FRAME)
    decode_image(data, "PNG", pixels)
    np.testing.assert_array_equal(pixels, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))


def test_jpegs_of_very_many_scans_are_refused_before_they_are_decoded() -> None:
    pixels = np.empty_like(FRAME)
    decode_image(_jpeg_of_scans(1), "JPEG", pixels)
    with pytest.raises(ImageError, match="scans"):
        decode_image(_jpeg_of_scans(5000), "JPEG", pixels)


def _encoded_as(kind: str, **options: Any) -> bytes:
    encoded = io.BytesIO()
    Image.fromarray(FRAME).save(encoded, kind, **options)
    return encoded.getvalue()


def _odd_images() -> Iterator[bytes]:
    """Images about which their libraries complain: cut off, with other bytes inside, or with odd pieces."""
    animated = {"save_all": True, "append_images": [Image.fromarray(FRAME[::-1])]}
    kinds = [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WebP", {}), ("WebP", animated)]
    random = np.random.default_rng(1)
    for kind, options in kinds:
        whole = _encoded_as(kind, **options)
        yield whole + bytes(1000)
        yield whole[: len(whole) // 2]
        for first in (0.1, 0.5, 0.9):
            at = int(first * len(whole))
            yield whole[:at] + random.bytes(20) + whole[at + 20 :]
            yield whole[:at] + random.bytes(20) + whole[at:]
    # Pillow warns about a palette whose transparency is given in bytes.
    encoded = io.BytesIO()
    Image.fromarray(FRAME).convert("P").save(encoded, "PNG", transparency=bytes(range(256)))
    yield encoded.getvalue()
    yield _encoded_as("PNG", exif=b"Exif\0\0II*\0" + b"\xff" * 20)
    yield _encoded_as("JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 20, icc_profile=b"\xff" * 99)


async def test_complaints_of_image_libraries_are_lines_of_the_log(post: Post, live_server: LiveServer) -> None:
    for image in _odd_images():
        assert (await post(json=image_body([image] * 16))).status in (200, 400, 422)
    assert not [entry for entry in live_server.log if entry["level"] == "PRINTED"]


async def test_bombs_of_images_are_answered_and_write_nothing_past_the_log(post: Post, live_server: LiveServer) -> None:
    assert (await post(json=image_body([_png_followed_by(2**26)] * 16))).status == 200
    assert (await post(json=image_body([_jpeg_of_scans(100)] * 16))).status == 400
    damaged = bytearray(_png_followed_by(0))
    damaged[60:80] = bytes(20)
    assert (await post(json=image_body([bytes(damaged)] * 16))).status == 400
    assert not [entry for entry in live_server.log if entry["level"] == "PRINTED"]
