"""The outputs: log lines, events, saved clips, metrics."""
