"""What is done to any network: traced, probed for its precision, asked for reference answers, estimated."""
