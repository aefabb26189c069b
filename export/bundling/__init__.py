"""Products of the stages kept by what they were made from; bundles that appear whole or not at all."""
