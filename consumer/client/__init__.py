"""The typed client for other programs."""
