"""The demo checkpoint: a small V-JEPA 2 motion classifier, trained on rendered clips."""
