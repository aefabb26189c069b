"""The demo checkpoint: a small V-JEPA 2 classifier of motion, trained on rendered clips."""
