"""Logs, metrics, the phases of a request, and measurements of the GPUs."""
