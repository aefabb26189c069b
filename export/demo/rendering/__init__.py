"""The demo clips, rendered from a seed."""
