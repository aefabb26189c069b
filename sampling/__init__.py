"""Which frames of a stream make a clip: ticks, windows, timelines. Standard library only."""
