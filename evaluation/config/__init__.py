"""Settings and flags."""
