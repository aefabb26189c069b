"""The models in service: each with its deployment, its figures and its swaps."""
