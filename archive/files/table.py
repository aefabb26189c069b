"""The Parquet file of a video: a row for each window."""

from __future__ import annotations

import io
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from archive.video import WindowScores

SUFFIX = ".parquet"
_DESCRIPTION = b"vjepa_description"
_LENGTH = b"vjepa_length_s"
_TEXT = pa.dictionary(pa.int32(), pa.string())


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What the windows of an archive have in common; archives of another description are not continued.

    ``model_sha256`` is the digest of the bundle's content, ``head`` the classifier if it is not the model's own, with
    its digest ``head_sha256``, and ``version`` that of this package. ``fps``, ``stride`` and ``max_gap_s`` are as in
    ``archive.decoding.job.Sampling``.
    """

    model: str
    model_sha256: str
    head: str | None
    head_sha256: str | None = None
    version: str
    labels: tuple[str, ...]
    frames: int
    fps: float
    stride: int
    max_gap_s: float | None


def encode(video: str, windows: Sequence[WindowScores], description: Description) -> bytes:
    """The Parquet file of ``video``; its columns are documented in ``docs/archives.md``."""
    scores = np.stack([window.scores for window in windows])
    best = scores.argmax(axis=1)
    count = len(windows)
    columns = {
        "video": pa.array([video] * count).cast(_TEXT),
        "start_s": pa.array([window.start_s for window in windows], pa.float64()),
        "end_s": pa.array([window.end_s for window in windows], pa.float64()),
        "label": pa.array([description.labels[index] for index in best]).cast(_TEXT),
        "confidence": pa.array(scores.max(axis=1), pa.float32()),
        "scores": pa.FixedSizeListArray.from_arrays(pa.array(scores.reshape(-1), pa.float32()), scores.shape[1]),
        "changes": pa.array([window.changes for window in windows], pa.list_(pa.float32())),
        "model": pa.array([description.model] * count).cast(_TEXT),
        "head": pa.array([description.head] * count, pa.string()).cast(_TEXT),
        "version": pa.array([description.version] * count).cast(_TEXT),
    }
    metadata = {
        _DESCRIPTION: msgspec.json.encode(description),
        _LENGTH: msgspec.json.encode(next((window.of_s for window in windows if window.of_s), None)),
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), file, compression="zstd")
    return file.getvalue()


def decode(content: bytes) -> list[WindowScores]:
    """The windows in a Parquet file that ``encode`` has made."""
    table = pq.read_table(io.BytesIO(content))
    of_s = msgspec.json.decode(table.schema.metadata[_LENGTH], type=float | None)
    scores = table["scores"].combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
    times = zip(table["start_s"].to_pylist(), table["end_s"].to_pylist(), table["changes"].to_pylist(), strict=True)
    return [
        WindowScores(start_s, end_s, scores[index], tuple(changes), of_s)
        for index, (start_s, end_s, changes) in enumerate(times)
    ]
