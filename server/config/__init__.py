"""Settings, the flags that they come from, and the version."""
