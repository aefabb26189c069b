"""Finds, checks and verifies bundles on disk."""
