"""``python -m tests.archive.accuracy [--videos 20]``: how well segments fit the actions of generated recordings."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from archive.classification import classify_video
from archive.decoding.job import Sampling
from archive.segments import segments
from engines.runtimes.registry import load_engine
from engines.storage.bundle import DEMO, open_bundle
from tests.archive.recordings import overlap, write_recording

_LEAST_OVERLAP = 0.8


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--stride", type=int, nargs="+", default=[8, 4, 2])
    wanted = parser.parse_args()
    engine = load_engine(open_bundle(DEMO))
    worst = 1.0
    for stride in wanted.stride:
        overlaps, in_still, other = [], 0, 0
        for seed in range(wanted.videos):
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "video.mp4"
                actions = write_recording(path, seed)
                windows = list(classify_video(str(path), engine, Sampling(stride=stride)))
            found = segments(windows, engine.manifest.labels)
            for action in actions:
                of_action = (
                    overlap((each.start_s, each.end_s), (action.start_s, action.end_s))
                    for each in found
                    if each.label == action.label
                )
                overlaps.append(max(of_action, default=0.0))
            for each in found:
                near = [one for one in actions if one.start_s < each.end_s and each.start_s < one.end_s]
                in_still += not near
                other += all(one.label != each.label for one in near)
        mean = sum(overlaps) / len(overlaps)
        worst = min(worst, mean) if not in_still else 0.0
        print(
            f"stride {stride}: mean temporal IoU {mean:.3f} of {len(overlaps)} actions; {in_still} in still stretches"
        )
        print(f"  {other} segments with another label than that of their time")
    return int(worst < _LEAST_OVERLAP)


if __name__ == "__main__":
    sys.exit(main())
