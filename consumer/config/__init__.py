"""Settings, and the flags that they come from."""
