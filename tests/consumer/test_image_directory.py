from __future__ import annotations

import logging
import os
import threading
import zlib
from pathlib import Path

import pytest
from PIL import Image

from consumer.errors import NoVideoError, SourceStoppedError, SourceUnreadableError
from consumer.sources.clip import Clip, read_clips
from consumer.sources.image_directory import ImageDirectory
from consumer.sources.source import parse_source
from sampling.windows import Shape
from tests.consumer.peers import LiveServer
from tests.consumer.processes import consume
from tests.consumer.videos import number_of, numbered_frame
from video.clipping import Clipping


def write_images(directory: Path, count: int, name: str = "{}.png", size: tuple[int, int] = (128, 96)) -> Path:
    directory.mkdir(exist_ok=True)
    for number in range(count):
        numbered_frame(number, size).to_image().save(directory / name.format(number))
    return directory


def clips_of(directory: Path, frames: int = 16, fps: float = 3, image_fps: float = 3) -> list[Clip]:
    source = parse_source(str(directory))
    video = ImageDirectory(source, image_fps, threading.Event())
    return list(read_clips(source, video, Clipping(Shape(frames, fps, frames), 0), lambda: None))


def numbers_of(clip: Clip) -> list[int]:
    return [number_of(picture) for picture in clip.pictures]


@pytest.mark.parametrize("name", ["{}.png", "frame-{}.jpg", "{:04}.webp", "IMG_{}.JPEG", "a{}b.bmp"])
def test_images_are_sorted_by_number(tmp_path: Path, name: str) -> None:
    first, second = clips_of(write_images(tmp_path / "a", 32, name))
    assert numbers_of(first) + numbers_of(second) == list(range(32))


def test_faster_images_are_sampled(tmp_path: Path) -> None:
    (clip,) = clips_of(write_images(tmp_path / "a", 64), image_fps=12)
    assert numbers_of(clip) == list(range(0, 64, 4))


def test_fewer_images_than_a_clip_are_repeated(tmp_path: Path) -> None:
    (clip,) = clips_of(write_images(tmp_path / "a", 8))
    assert sorted(set(numbers_of(clip))) == list(range(8))


def test_other_files_are_ignored_and_broken_images_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = write_images(tmp_path / "a", 16)
    (directory / "notes.txt").write_text("hello")
    (directory / "3.png").write_bytes(b"not an image")
    (clip,) = clips_of(directory)
    assert 3 not in numbers_of(clip)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage() == "image skipped"


def test_image_of_another_size_is_scaled(tmp_path: Path) -> None:
    directory = write_images(tmp_path / "a", 16)
    numbered_frame(5, (64, 48)).to_image().save(directory / "5.png")
    (clip,) = clips_of(directory)
    assert numbers_of(clip) == list(range(16))


def test_image_is_rotated_by_its_exif_orientation(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    directory.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    numbered_frame(1).to_image().save(directory / "1.jpg", exif=exif)
    (clip,) = clips_of(directory, frames=1)
    assert clip.pictures[0].shape == (128, 96, 3)


@pytest.mark.parametrize("exif", [b"x", b"MM\0*", b"\xff" * 50], ids=["short", "cut", "foreign"])
def test_image_with_damaged_exif_does_not_end_the_directory(tmp_path: Path, exif: bytes) -> None:
    directory = write_images(tmp_path / "a", 16)
    image = directory / "3.png"
    written = image.read_bytes()
    chunk = b"eXIf" + exif
    header_bytes = 33
    damaged = len(exif).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
    image.write_bytes(written[:header_bytes] + damaged + written[header_bytes:])
    (clip,) = clips_of(directory)
    assert numbers_of(clip) == list(range(16))


def test_pipe_with_the_name_of_an_image_is_not_waited_for(tmp_path: Path) -> None:
    directory = write_images(tmp_path / "a", 16)
    os.mkfifo(directory / "16.png")
    (clip,) = clips_of(directory)
    assert numbers_of(clip) == list(range(16))


def test_stop_ends_the_frames(tmp_path: Path) -> None:
    stopped = threading.Event()
    frames = ImageDirectory(parse_source(str(write_images(tmp_path / "a", 3))), 1, stopped).frames()
    next(frames)
    stopped.set()
    with pytest.raises(SourceStoppedError):
        next(frames)


def test_directory_without_images_raises(tmp_path: Path) -> None:
    source = parse_source(str(tmp_path))
    with pytest.raises(NoVideoError, match=r"no images in .*help: accepted: files named .*jpg"):
        ImageDirectory(source, 1, threading.Event())
    tmp_path.rmdir()
    with pytest.raises(SourceUnreadableError, match="no such file"):
        ImageDirectory(source, 1, threading.Event())


async def test_a_directory_is_classified(live_server: LiveServer, tmp_path: Path) -> None:
    ended = await consume(write_images(tmp_path / "a", 20), "--service-url", live_server.url, "--clip-stride", "4")
    assert ended.code == 0
    assert any("clips=2" in line for line in ended.errors)
