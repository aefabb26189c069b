"""Plans of TensorRT and of TensorRT-RTX."""
