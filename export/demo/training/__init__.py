"""Trains the demo checkpoint on rendered clips and evaluates it."""
