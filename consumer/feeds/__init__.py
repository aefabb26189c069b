"""One source, from its thread to its reports."""
