"""Settings of the command, and the flags that they come from."""
