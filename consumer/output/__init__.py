"""What is told of clips: log lines, events, saved clips, metrics."""
