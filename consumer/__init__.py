"""The consumer: samples clips from a video and has the V-JEPA 2 service classify them over HTTP."""
