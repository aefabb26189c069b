"""Settings of ``teach``, and the flags that they come from."""
