"""Keeps the results of finished stages, and writes bundles so that they appear complete or not at all."""
