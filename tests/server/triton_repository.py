"""``python triton_repository.py URL KEY``: NVIDIA's client loads and unloads models of a service of three."""

from __future__ import annotations

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

FRAMES = np.zeros((1, 16, 24, 32, 3), np.uint8)


def top_label(client: triton.InferenceServerClient, model: str, headers: dict[str, str]) -> str:
    tensor = triton.InferInput("frames", FRAMES.shape, "UINT8")
    tensor.set_data_from_numpy(FRAMES)
    classes = triton.InferRequestedOutput("probabilities", class_count=1)
    answer = client.infer(model, [tensor], outputs=[classes], headers=headers)
    assert answer.get_response()["model_name"] == model
    return answer.as_numpy("probabilities")[0, 0].decode().split(":", 2)[2]


def use(client: triton.InferenceServerClient, headers: dict[str, str]) -> None:
    index = {model["name"]: model["state"] for model in client.get_model_repository_index(headers=headers)}
    assert index == dict.fromkeys(("first", "second", "third"), "READY")
    assert len({top_label(client, model, headers) for model in index}) == 3
    client.unload_model("second", headers=headers)
    assert not client.is_model_ready("second", headers=headers)
    assert client.is_model_ready("first", headers=headers)
    client.load_model("second", headers=headers)
    assert client.is_model_ready("second", headers=headers)
    statistics = client.get_inference_statistics(headers=headers)["model_stats"]
    assert [model["inference_count"] for model in statistics] == [1, 1, 1]
    refused = None
    try:
        client.load_model("fourth", headers=headers)
    except InferenceServerException as error:
        refused = error
    assert refused is not None
    assert "no model 'fourth'" in refused.message()


if __name__ == "__main__":
    url, key = sys.argv[1:]
    use(triton.InferenceServerClient(url.removeprefix("http://")), {"Authorization": f"Bearer {key}"})
    sys.stdout.write("all calls\n")
