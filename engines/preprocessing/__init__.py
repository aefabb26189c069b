"""Frames to network input, on the CPU and on a device."""
