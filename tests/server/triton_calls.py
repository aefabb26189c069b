"""``python triton_calls.py URL``: every call of NVIDIA's client, in its own environment, to a service of ``batch``."""

from __future__ import annotations

import asyncio
import os
import sys

import numpy as np
import tritonclient.http as sync_http
import tritonclient.http.aio as aio_http
import tritonclient.utils.shared_memory as shared_memory
from tritonclient.utils import InferenceServerException

MODEL, LABELS = "batch", 11
FRAMES = np.random.default_rng(24).integers(0, 256, (3, 16, 24, 32, 3), np.uint8)
# The smallest image of a pixel: a PNG.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


def pixels(binary: bool = True) -> sync_http.InferInput:
    tensor = sync_http.InferInput("frames", FRAMES.shape, "UINT8")
    tensor.set_data_from_numpy(FRAMES, binary_data=binary)
    return tensor


def images() -> sync_http.InferInput:
    tensor = sync_http.InferInput("frames", [2, 16], "BYTES")
    tensor.set_data_from_numpy(np.full((2, 16), PNG, object))
    return tensor


def output(**options: object) -> sync_http.InferRequestedOutput:
    return sync_http.InferRequestedOutput("probabilities", **options)


def check_probabilities(result: object, clips: int = 3) -> np.ndarray:
    values = result.as_numpy("probabilities")
    assert values.shape == (clips, LABELS)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values.sum(1), 1, atol=1e-3)
    return values


def check_features(client: sync_http.InferenceServerClient) -> None:
    """The features have the shape that the metadata tells."""
    (shape,) = (one["shape"] for one in client.get_model_metadata(MODEL)["outputs"] if one["name"] == "features")
    asked = [sync_http.InferRequestedOutput("features")]
    values = client.infer(MODEL, [images()], outputs=asked).as_numpy("features")
    assert (list(values.shape), values.dtype) == ([2, shape[1]], np.float32)
    assert np.isfinite(values).all()


def check_metadata(server: dict, model: dict, config: dict) -> None:
    assert {"binary_tensor_data", "classification", "system_shared_memory"} <= set(server["extensions"])
    assert model["inputs"][0]["datatype"] == "UINT8"
    assert config["max_batch_size"] == 8


def check_statistics(statistics: dict, clips: int) -> None:
    (model,) = statistics["model_stats"]
    assert model["inference_count"] == clips
    assert model["execution_count"] >= 1
    for phase in ("success", "queue", "compute_infer"):
        assert model["inference_stats"][phase]["count"] >= 1
        assert model["inference_stats"][phase]["ns"] > 0


def check_classes(result: object) -> None:
    classes = result.as_numpy("probabilities")
    assert classes.shape == (3, 2)
    value, index, label = classes[0, 0].decode().split(":", 2)
    assert 0 < float(value) <= 1
    assert int(index) < LABELS
    assert label


def check_refusal(refused: InferenceServerException | None, words: str, status: str) -> None:
    assert refused is not None
    assert words in refused.message()
    assert refused.status() in (status, f"StatusCode.{status}")


def use_sync(url: str) -> int:
    """All calls; returns the number of clips that were classified."""
    client = sync_http.InferenceServerClient(url, concurrency=2)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("nothing")
    check_metadata(client.get_server_metadata(), client.get_model_metadata(MODEL), client.get_model_config(MODEL, "1"))
    asked = {"parameters": {"format": "RGB"}, "priority": 1, "timeout": 60_000_000}
    expected = check_probabilities(client.infer(MODEL, [pixels()], request_id="7", **asked))
    assert client.infer(MODEL, [pixels()], request_id="7", **asked).get_response()["id"] == "7"
    for binary_input in (True, False):
        for binary_output in (True, False):
            result = client.infer(MODEL, [pixels(binary_input)], outputs=[output(binary_data=binary_output)], **asked)
            np.testing.assert_allclose(check_probabilities(result), expected, atol=1e-6)
    for algorithm in ("gzip", "deflate"):
        result = client.infer(
            MODEL,
            [pixels()],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
            **asked,
        )
        np.testing.assert_allclose(check_probabilities(result), expected, atol=1e-6)
    check_classes(client.infer(MODEL, [pixels()], outputs=[output(class_count=2)], model_version="1"))
    check_probabilities(client.infer(MODEL, [images()]), clips=2)
    check_probabilities(client.async_infer(MODEL, [pixels()]).get_result())
    check_features(client)
    use_shared_memory(client, expected)
    refused = None
    try:
        client.infer(MODEL, [pixels()], outputs=[sync_http.InferRequestedOutput("features of another bundle")])
    except InferenceServerException as error:
        refused = error
    check_refusal(refused, "unknown output", "422")
    clips = 3 * 10 + 2 + 3 * 1 + 2
    check_statistics(client.get_inference_statistics(MODEL), clips)
    check_statistics(client.get_inference_statistics(), clips)
    return clips


def use_shared_memory(client: sync_http.InferenceServerClient, expected: np.ndarray) -> None:
    names = {what: f"vjepa-test-triton-{os.getpid()}-{what}" for what in ("input", "output")}
    source = shared_memory.create_shared_memory_region("input", f"/{names['input']}", FRAMES.nbytes)
    target = shared_memory.create_shared_memory_region("output", f"/{names['output']}", expected.nbytes)
    try:
        shared_memory.set_shared_memory_region(source, [FRAMES])
        client.unregister_system_shared_memory()
        client.unregister_cuda_shared_memory()
        client.register_system_shared_memory("input", f"/{names['input']}", FRAMES.nbytes)
        client.register_system_shared_memory("output", f"/{names['output']}", expected.nbytes)
        assert len(client.get_system_shared_memory_status()) == 2
        assert client.get_system_shared_memory_status("input")[0]["byte_size"] == FRAMES.nbytes
        assert client.get_cuda_shared_memory_status() == []
        tensor, wanted = sync_http.InferInput("frames", FRAMES.shape, "UINT8"), output()
        tensor.set_shared_memory("input", FRAMES.nbytes)
        wanted.set_shared_memory("output", expected.nbytes)
        client.infer(MODEL, [tensor], outputs=[wanted], parameters={"format": "RGB"})
        written = shared_memory.get_contents_as_numpy(target, np.float32, expected.shape)
        np.testing.assert_allclose(written, expected, atol=1e-6)
        client.unregister_system_shared_memory("input")
        client.unregister_system_shared_memory()
        assert client.get_system_shared_memory_status() == []
    finally:
        shared_memory.destroy_shared_memory_region(source)
        shared_memory.destroy_shared_memory_region(target)


async def use_asyncio(url: str, clips: int) -> None:
    async with aio_http.InferenceServerClient(url) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(MODEL)
        assert not await client.is_model_ready(MODEL, "2")
        check_metadata(
            await client.get_server_metadata(),
            await client.get_model_metadata(MODEL, "1"),
            await client.get_model_config(MODEL),
        )
        results = await asyncio.gather(*(client.infer(MODEL, [pixels()], request_id=str(one)) for one in range(4)))
        for number, result in enumerate(results):
            assert result.get_response()["id"] == str(number)
            check_probabilities(result)
        check_probabilities(await client.infer(MODEL, [pixels(binary=False)], outputs=[output(binary_data=False)]))
        check_classes(await client.infer(MODEL, [pixels()], outputs=[output(class_count=2)]))
        check_probabilities(await client.infer(MODEL, [images()]), clips=2)
        await client.unregister_system_shared_memory()
        assert await client.get_system_shared_memory_status() == []
        refused = None
        try:
            await client.infer("nothing", [pixels()])
        except InferenceServerException as error:
            refused = error
        check_refusal(refused, "no model 'nothing'", "404")
        check_statistics(await client.get_inference_statistics(MODEL), clips + 3 * 6 + 2)


if __name__ == "__main__":
    place = sys.argv[1].removeprefix("http://")
    classified = use_sync(place)
    sys.stdout.write("sync: all calls\n")
    asyncio.run(use_asyncio(place, classified))
    sys.stdout.write("asyncio: all calls\n")
