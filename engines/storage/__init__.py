"""A bundle on disk: opened, checked, verified."""
