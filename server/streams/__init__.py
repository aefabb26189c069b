"""Streams: each frame is sent once, and the service makes the windows."""
