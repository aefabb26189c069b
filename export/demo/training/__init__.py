"""The demo checkpoint, trained on rendered clips and measured."""
