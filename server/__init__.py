"""The online service: HTTP in front of an engine."""
