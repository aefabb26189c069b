"""Encoded images (JPEG, PNG, WebP): recognised, measured before they are decoded, decoded to BGR."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image, UnidentifiedImageError

from server.clips.jpeg_passes import count_passes
from server.clips.png_chunks import only_pixels

ImageKind = Literal["JPEG", "PNG", "WebP"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Each scan of a JPEG goes over all pixels of its components again. Progressive encoders make ten scans, which are 14
# passes, and 24 of CMYK.
_MAX_JPEG_PASSES = 32
# The costliest pixels of each kind that were measured: those of a JPEG in one pass over a component, of an interlaced
# PNG with 16 bits, of a lossy WebP and of a group of Huffman codes in a lossless one.
_JPEG_PIXEL_S, _JPEG_PASS_S = 2e-9, 3.5e-9
_PNG_PIXEL_S = 65e-9
_WEBP_PIXEL_S = 26e-9
_WEBP_GROUP_S, _WEBP_GROUP_BYTES = 12e-6, 4


class ImageError(ValueError):
    """The image cannot be read; the text says why, as the end of a sentence that the caller begins."""


def configure_image_decoders() -> None:
    """Set, for the whole process, what the decoders' libraries keep as globals.

    OpenCV logs nothing, because the client is told what is wrong with its image. Pillow bounds no sizes, because the
    service bounds them itself before it decodes.
    """
    logging: Any = getattr(cv2.utils, "logging", cv2)  # OpenCV 4.11 has no cv2.utils.logging
    logging.setLogLevel(0)
    Image.MAX_IMAGE_PIXELS = None


def image_kind(data: bytes) -> ImageKind | None:
    """The kind of image by the signature of ``data``, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    return None


def image_size(data: bytes, kind: ImageKind) -> tuple[int, int]:
    """Height and width by the header; raises ImageError, also for an image whose pixels take too much work."""
    try:
        if kind == "PNG":
            name, width, height = struct.unpack_from(">4sII", data, 12)
            if name != b"IHDR":
                raise ImageError("its first chunk is not IHDR")
        elif kind == "JPEG":
            _check_passes(data)
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        else:
            width, height = Image.open(io.BytesIO(data), formats=["WEBP"]).size
    except ImageError:
        raise
    except (struct.error, ValueError, UnidentifiedImageError, OSError) as error:
        raise ImageError(f"it is truncated or damaged ({error})") from None
    return height, width


def _check_passes(data: bytes) -> None:
    if count_passes(data, _MAX_JPEG_PASSES) > _MAX_JPEG_PASSES:
        raise ImageError(
            f"its scans go over more than {_MAX_JPEG_PASSES} components, each with all pixels; accepted: at most"
            f" {_MAX_JPEG_PASSES}"
        )


def decode_seconds(data: bytes, kind: ImageKind, size: tuple[int, int]) -> float:
    """About the most CPU seconds that an image of that height and width takes; measured on one core at 3 GHz."""
    height, width = size
    pixels = height * width
    if kind == "JPEG":
        return pixels * (_JPEG_PIXEL_S + _JPEG_PASS_S * count_passes(data, _MAX_JPEG_PASSES))
    if kind == "PNG":
        return pixels * _PNG_PIXEL_S
    return pixels * _WEBP_PIXEL_S + _most_code_groups(data, height, width) * _WEBP_GROUP_S


def _most_code_groups(data: bytes, height: int, width: int) -> int:
    """The most groups of Huffman codes in a WebP. A lossless one may have one for each block of 4 x 4 pixels.

    Decoding a group takes as long as a thousand pixels, and its length does not show before.
    """
    blocks = -(-height // 4) * -(-width // 4)
    return min(blocks, len(data) // _WEBP_GROUP_BYTES, 2**16) if b"VP8L" in data else 0


def decode_image(data: bytes, kind: ImageKind, pixels: npt.NDArray[np.uint8]) -> None:
    """Decode ``data`` as BGR into ``pixels``, uint8 [H, W, 3] of the size in the header of the image.

    The EXIF orientation is not applied, because video frames have none. Raises ImageError.
    """
    _DECODERS[kind](data, pixels)


def _decode_webp(data: bytes, pixels: npt.NDArray[np.uint8]) -> None:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"it cannot be decoded ({error.err})") from None
    if decoded is None or decoded.shape != pixels.shape:
        raise ImageError("it is truncated or damaged")
    np.copyto(pixels, decoded)


def _decode_png(data: bytes, pixels: npt.NDArray[np.uint8]) -> None:
    """With Pillow, which stops at the last pixel, from the chunks with pixels alone.

    OpenCV is faster by a third, but inflates all data that follows the pixels, gigabytes in a body of a few MB, and
    writes each complaint to standard error. Pillow inflates a MiB of every colour profile, before and after them.
    """
    try:
        with Image.open(io.BytesIO(only_pixels(data)), formats=["PNG"]) as image:
            if image.mode.startswith("I"):  # 16 bits of grey, whose upper byte OpenCV takes too
                pixels[:] = (np.asarray(image) >> 8).astype(np.uint8)[..., None]
            else:
                pixels[:] = np.asarray(image.convert("RGB"))[..., ::-1]
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise ImageError(f"it is truncated or damaged ({error})") from None


def _decode_jpeg(data: bytes, pixels: npt.NDArray[np.uint8]) -> None:
    try:
        simplejpeg.decode_jpeg(data, colorspace="BGR", buffer=pixels)
    except ValueError as error:
        raise ImageError(f"it is truncated or damaged ({error})") from None


_DECODERS: dict[ImageKind, Callable[[bytes, npt.NDArray[np.uint8]], None]] = {
    "JPEG": _decode_jpeg,
    "PNG": _decode_png,
    "WebP": _decode_webp,
}
