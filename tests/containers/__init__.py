"""``python -m tests.containers``: builds the images for CPUs with Podman, runs them as compose does, and asks them."""
