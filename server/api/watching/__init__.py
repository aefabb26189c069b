"""What happens on all streams, for those who watch, and the figures of the last hour."""
