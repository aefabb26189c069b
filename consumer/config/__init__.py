"""The settings, and the flags that set them."""
