"""What labels the windows: an engine in this process or a running service, with own labels or those of a head."""
