"""Offline room: checkpoint -> network -> ONNX -> verified engine bundle."""
