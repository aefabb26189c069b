"""Clips wait, are gathered into batches and go to engines, which are watched."""
