"""Converts frames to network input, on the CPU or on the device of the network."""
