"""``litserve_app PORT API_SERVERS MAX_BATCH``: LitServe with its batching and its faster queue.

Without batching it waits for requests; with it, it polls, so batches of one are left to its plain loop.
"""

import sys

import litserve

from tests.latency.rivals.models import decode_frames, load_model, top_predictions
from tests.latency.stand_in_device import Frames, Probabilities

_BATCH_TIMEOUT_S = 0.005


class ClipApi(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = load_model()

    def decode_request(self, request) -> Frames:  # type: ignore[no-untyped-def]  # LitServe reads what stands here
        return decode_frames(request["frames"], request["width"], request["height"])

    def batch(self, inputs: list[Frames]) -> list[Frames]:
        return inputs

    def predict(self, clips: Frames | list[Frames]) -> Probabilities:
        return self.model.classify(clips) if self.max_batch_size > 1 else self.model.classify([clips])[0]

    def unbatch(self, output: Probabilities) -> list[Probabilities]:
        return list(output)

    def encode_response(self, output: Probabilities):  # type: ignore[no-untyped-def]
        return {"predictions": top_predictions(output, self.model.labels)}


if __name__ == "__main__":
    port, api_servers, max_batch = (int(argument) for argument in sys.argv[1:])
    batch_timeout_s = _BATCH_TIMEOUT_S if max_batch > 1 else 0
    api = ClipApi(max_batch_size=max_batch, batch_timeout=batch_timeout_s, api_path="/api/v1/infer")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=port, num_api_servers=api_servers, generate_client_file=False)
