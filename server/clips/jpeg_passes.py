"""How often the scans of a JPEG go over its pixels, which bounds the work of decoding it."""

from __future__ import annotations

import re

_START_OF_SCAN = b"\xff\xda"
_START_OF_SCAN_CODE = 0xDA
_END_OF_IMAGE_CODE = 0xD9
# A marker that a decoder reads, with fill bytes before it. Within a scan, 0xFF is also followed by 0 and by the numbers
# of restarts.
_MARKER = re.compile(rb"\xff+([\x01-\xcf\xd8-\xfe])")
# Markers without a length: those below are reserved or temporary, and 0xD8 starts an image.
_FIRST_WITH_LENGTH = 0xC0
_START_OF_IMAGE_CODE = 0xD8
_MOST_COMPONENTS = 4


def count_passes(data: bytes, most: int) -> int:
    """The number of components in each scan, summed over the scans; never less than a decoder will go through.

    A scan of one colour component costs a pass over the pixels of that component, even if it holds no data. The count
    ends with the scan that takes it above ``most``.
    """
    # Few images have so many scans that their markers must be followed.
    scans = data.count(_START_OF_SCAN)
    return scans * _MOST_COMPONENTS if scans <= 1 else _count_in_segments(data, most)


def _count_in_segments(data: bytes, most: int) -> int:
    """Count as a decoder reads: up to the end of the image, and not in thumbnails, which are within segments."""
    passes, at = 0, 2
    while passes <= most and (marker := _MARKER.search(data, at)) and (code := marker[1][0]) != _END_OF_IMAGE_CODE:
        at = marker.end()
        if code >= _FIRST_WITH_LENGTH and code != _START_OF_IMAGE_CODE:
            if code == _START_OF_SCAN_CODE:
                passes += data[at + 2] if at + 2 < len(data) else 0
            at += int.from_bytes(data[at : at + 2], "big")
    return passes
