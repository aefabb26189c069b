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

ImageKind = Literal["JPEG", "PNG", "WebP"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN = b"\xff\xda"
# Each scan of a progressive JPEG goes over all pixels again. Encoders make about ten.
_MAX_SCANS = 64


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
    """Height and width from the header alone; raises ImageError."""
    try:
        if kind == "PNG":
            width, height = struct.unpack_from(">II", data, 16)
        elif kind == "JPEG":
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        else:
            width, height = Image.open(io.BytesIO(data), formats=["WEBP"]).size
    except (struct.error, ValueError, UnidentifiedImageError, OSError) as error:
        raise ImageError(f"it is truncated or damaged ({error})") from None
    return height, width


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
    """With Pillow, which stops at the last pixel.

    OpenCV is faster by a third, but inflates all data that follows the pixels, gigabytes in a body of a few MB, and
    writes each complaint to standard error.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.mode.startswith("I"):  # 16 bits of grey, whose upper byte OpenCV takes too
                pixels[:] = (np.asarray(image) >> 8).astype(np.uint8)[..., None]
            else:
                pixels[:] = np.asarray(image.convert("RGB"))[..., ::-1]
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise ImageError(f"it is truncated or damaged ({error})") from None


def _decode_jpeg(data: bytes, pixels: npt.NDArray[np.uint8]) -> None:
    if (scans := data.count(_START_OF_SCAN)) > _MAX_SCANS:
        raise ImageError(f"it has {scans} scans, and at most {_MAX_SCANS} are accepted")
    try:
        simplejpeg.decode_jpeg(data, colorspace="BGR", buffer=pixels)
    except ValueError as error:
        raise ImageError(f"it is truncated or damaged ({error})") from None


_DECODERS: dict[ImageKind, Callable[[bytes, npt.NDArray[np.uint8]], None]] = {
    "JPEG": _decode_jpeg,
    "PNG": _decode_png,
    "WebP": _decode_webp,
}
