"""V-JEPA 2: its checkpoints, read and folded into the lean network."""
