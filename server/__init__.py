"""Online room: HTTP in front of an engine."""
