"""The settings, the flags from which they are read, and the version."""
