"""Labels recordings: one video or an archive of many, on an engine in the process or on a cluster."""
