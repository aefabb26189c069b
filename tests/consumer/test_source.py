from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.sources.source import Kind, parse_source, rtp_description


@pytest.mark.parametrize(
    ("text", "kind", "live", "datagrams"),
    [
        ("clip.mp4", Kind.FILE, False, False),
        ("/data/my clip:1.mkv", Kind.FILE, False, False),
        ("rtsp://camera/1", Kind.RTSP, True, False),
        ("rtsps://camera:322/1?x=y", Kind.RTSP, True, False),
        ("udp://0.0.0.0:5000", Kind.MPEGTS, True, True),
        ("udp://239.1.1.1:5000?fifo_size=1000", Kind.MPEGTS, True, True),
        ("udp://:5000?codec=h264", Kind.RTP, True, True),
        ("udp://[ff02::1]:5000?codec=H265&payload=97", Kind.RTP, True, True),
        ("camera.sdp", Kind.SDP, True, True),
        ("/dev/video0", Kind.CAMERA, True, False),
    ],
)
def test_kind_of_each_source(text: str, kind: Kind, live: bool, datagrams: bool) -> None:
    source = parse_source(text)
    assert (source.kind, source.live, source.datagrams) == (kind, live, datagrams)
    assert (source.location, source.name) == (text, text)


def test_directory_is_read_as_images(tmp_path: Path) -> None:
    assert parse_source(str(tmp_path)).kind is Kind.IMAGES


@given(user=st.text("abc.%40", min_size=1, max_size=8), password=st.text("xyz%3A", min_size=3, max_size=8))
def test_passwords_stay_out_of_the_name(user: str, password: str) -> None:
    source = parse_source(f"rtsp://u-{user.replace('%', '')}:p-{password.replace('%', '')}@camera:554/1?a=b")
    assert source.name == "rtsp://camera:554/1?a=b"
    assert "@camera" in source.location


def test_rtp_description() -> None:
    lines = rtp_description(parse_source("udp://239.0.0.5:5004?codec=hevc&payload=101")).split("\r\n")
    assert "c=IN IP4 239.0.0.5" in lines
    assert "m=video 5004 RTP/AVP 101" in lines
    assert "a=rtpmap:101 H265/90000" in lines


def test_rtp_description_with_ipv6() -> None:
    assert "c=IN IP6 ff02::1" in rtp_description(parse_source("udp://[ff02::1]:5004?codec=h264"))


@given(st.text(max_size=40).filter(lambda text: "://" not in text and not text.startswith("/dev/video")))
def test_any_other_text_is_a_path(text: str) -> None:
    assert parse_source(text).location == text
    assert not parse_source(text.removesuffix(".sdp")).live


@given(scheme=st.text("abcxyz", min_size=1, max_size=6), rest=st.text(max_size=20))
def test_unsupported_url_raises(scheme: str, rest: str) -> None:
    with pytest.raises(ValueError, match="accepted: the path of a video file"):
        parse_source(f"{scheme}://{rest}")
