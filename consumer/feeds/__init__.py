"""Reads one source, sends its clips and reports the answers."""
