"""Runs plans of TensorRT and of TensorRT-RTX."""
