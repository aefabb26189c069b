"""The service independent of its protocols: its state, its engine and the swap of it, the classification of a clip."""
