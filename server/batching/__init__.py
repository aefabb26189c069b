"""Clips wait in a queue, are gathered into batches and run on engines, which are supervised."""
