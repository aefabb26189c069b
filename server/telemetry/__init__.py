"""Logs, metrics, the phases of a request, figures of GPUs."""
