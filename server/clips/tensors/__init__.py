"""Clips as tensors of the Open Inference Protocol (V2): parsed, checked, and written into the engine's memory."""
