"""V-JEPA 2: reads its checkpoints and converts them into the lean network."""
