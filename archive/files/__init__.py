"""Videos and their results on every file system that fsspec knows, from local directories to buckets."""
