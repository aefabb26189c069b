"""``mosec_app --port PORT``: mosec, with ``DECODERS`` processes that decode before the one that has the model.

Without decoders the model's own process decodes, which saves the way between the two.
"""

from __future__ import annotations

import os
from typing import Any

from mosec import Server, Worker
from mosec.mixin import NumBinIPCMixin

from tests.latency.rivals.models import decode_frames, load_model, top_predictions
from tests.latency.stand_in_device import MAX_BATCH, Frames

_TIMEOUT_S = 60
_MAX_WAIT_MS = 1


class Decoder(NumBinIPCMixin, Worker):
    def forward(self, data: dict[str, Any]) -> Frames:
        return _decoded(data)


class Classifier(NumBinIPCMixin, Worker):
    def __init__(self) -> None:
        self.model = load_model()

    def forward(self, data: list[Any]) -> list[dict[str, object]]:
        rows = self.model.classify([self.clip(each) for each in data])
        return [{"predictions": top_predictions(row, self.model.labels)} for row in rows]

    def clip(self, data: Any) -> Frames:
        return data


class DecodingClassifier(Classifier):
    def clip(self, data: Any) -> Frames:
        return _decoded(data)


def _decoded(data: dict[str, Any]) -> Frames:
    return decode_frames(data["frames"], data["width"], data["height"])


def main() -> None:
    decoders = int(os.environ["DECODERS"])
    server = Server()
    common = {"route": "/api/v1/infer", "timeout": _TIMEOUT_S}
    if decoders:
        server.append_worker(Decoder, num=decoders, **common)
    classifier = Classifier if decoders else DecodingClassifier
    server.append_worker(classifier, num=1, max_batch_size=MAX_BATCH, max_wait_time=_MAX_WAIT_MS, **common)
    server.run()


if __name__ == "__main__":
    main()
