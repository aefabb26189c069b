"""Offline export: turns a checkpoint into a network, an ONNX file and a verified engine bundle."""
