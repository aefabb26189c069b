"""Decodes recordings into the pictures of clips; on sampling, for the consumer and the archive."""
