"""Renders the demo clips from a seed."""
