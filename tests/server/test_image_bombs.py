"""Small images that ask for much work: refused, or decoded at the cost of their pixels."""

from __future__ import annotations

import functools
import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from server.clips.images import ImageError, decode_image, decode_seconds, image_size
from server.clips.jpeg_passes import count_passes
from tests.live_server import LiveServer
from tests.server.conftest import Post
from tests.server.requests import image_body

SIZE = 64
FRAME = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), np.uint8)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = _chunk(b"IEND", b"")
PROFILE = _chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(2**20), 9))
TEXT = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**20), 9))


def header(size: int) -> bytes:
    """The header of a PNG of ``size`` x ``size`` pixels."""
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0))


def _pixels(excess_bytes: int = 0) -> bytes:
    rows = b"".join(b"\0" + row.tobytes() for row in FRAME)
    return _chunk(b"IDAT", zlib.compress(rows + bytes(excess_bytes), 9))


def _png_followed_by(excess_bytes: int) -> bytes:
    """FRAME, whose pixels are followed by zeros in the same compressed stream."""
    return SIGNATURE + header(SIZE) + _pixels(excess_bytes) + END


PNG_BOMBS = {
    "pixels that follow": lambda: _png_followed_by(2**27),
    "profiles before": lambda: SIGNATURE + header(SIZE) + PROFILE * 200 + _pixels() + END,
    "profiles behind": lambda: SIGNATURE + header(SIZE) + _pixels() + PROFILE * 200 + END,
    "texts": lambda: SIGNATURE + header(SIZE) + TEXT * 60 + _pixels() + TEXT * 60 + END,
}


def jpeg_of_scans(scans: int, frame: npt.NDArray[np.uint8] = FRAME) -> bytes:
    """A progressive JPEG of ``frame``, uint8 [H, W, 3], whose last scan is there many times."""
    encoded = io.BytesIO()
    Image.fromarray(frame).save(encoded, "JPEG", progressive=True)
    data = encoded.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


@pytest.mark.parametrize("name", PNG_BOMBS)
def test_data_besides_the_pixels_of_a_png_costs_nothing(name: str) -> None:
    plain, bomb = _png_followed_by(0), PNG_BOMBS[name]()
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


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(SIGNATURE + TEXT + header(4096), id="late header"),
        pytest.param(SIGNATURE + header(SIZE) + header(4096), id="second header"),
    ],
)
def test_a_png_is_decoded_at_the_size_that_was_checked(data: bytes) -> None:
    data += _chunk(b"IDAT", zlib.compress(bytes(4096 * (1 + 3 * 4096)), 9)) + END
    pixels = np.empty_like(FRAME)
    tracemalloc.start()
    try:
        if image_size(data, "PNG") == (SIZE, SIZE):
            decode_image(data, "PNG", pixels)
    except ImageError:
        assert data[12:16] != b"IHDR"
    finally:
        held_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert held_bytes < 2**20


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


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpegs_of_encoders_are_within_the_accepted_passes(mode: str, progressive: bool) -> None:
    encoded = io.BytesIO()
    thumbnail = b"Exif\0\0" + jpeg_of_scans(12)
    image = Image.fromarray(FRAME).convert(mode)
    image.save(encoded, "JPEG", progressive=progressive, exif=thumbnail)
    data = encoded.getvalue()
    passes = {"L": 6, "RGB": 14, "CMYK": 24}[mode] if progressive else len(mode)
    assert count_passes(data, most=passes) == passes
    assert image_size(data, "JPEG") == (SIZE, SIZE)


@pytest.mark.parametrize("scans", [50, 5000])
def test_jpegs_of_many_scans_are_refused_before_they_are_decoded(scans: int) -> None:
    assert image_size(jpeg_of_scans(1), "JPEG") == (SIZE, SIZE)
    with pytest.raises(ImageError, match="scans"):
        image_size(jpeg_of_scans(scans), "JPEG")


def test_an_end_within_a_segment_hides_no_scans() -> None:
    data, passes_of = jpeg_of_scans(50), functools.partial(count_passes, most=1000)
    first = data.index(b"\xff\xda")
    comment = b"\xff\xfe" + struct.pack(">H", 4) + b"\xff\xd9"
    assert passes_of(data[:first] + comment + data[first:]) == passes_of(data)
    # A decoder passes over restarts and fill bytes between the segments.
    assert passes_of(data[:first] + b"\xff\xd0\xff\xff" + data[first:]) == passes_of(data)


def test_the_expected_work_follows_from_pixels_and_passes() -> None:
    """The worst of what is accepted takes a few times as long as an honest image of its size; see reliability.md."""
    size = (1664, 1664)
    honest, worst = jpeg_of_scans(1), jpeg_of_scans(18)
    assert image_size(worst, "JPEG") == (SIZE, SIZE)
    assert decode_seconds(worst, "JPEG", size) < 3 * decode_seconds(honest, "JPEG", size)
    assert decode_seconds(b"", "PNG", size) < 0.2
    assert decode_seconds(honest, "JPEG", (240, 240)) < decode_seconds(b"", "PNG", (240, 240)) < 0.004
    lossless = b"RIFF....WEBPVP8L" + bytes(2**20)
    assert decode_seconds(lossless, "WebP", (1024, 1024)) > 20 * decode_seconds(b"VP8 ", "WebP", (1024, 1024))


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
    assert (await post(json=image_body([jpeg_of_scans(100)] * 16))).status == 400
    transparent = io.BytesIO()
    Image.fromarray(FRAME).convert("P").save(transparent, "PNG", transparency=bytes(range(256)))
    assert (await post(json=image_body([transparent.getvalue()] * 16))).status == 200
    damaged = bytearray(_png_followed_by(0))
    damaged[60:80] = bytes(20)
    assert (await post(json=image_body([bytes(damaged)] * 16))).status == 400
    assert not [entry for entry in live_server.log if entry["level"] == "PRINTED"]
