"""Small classifiers on the features of a network: what they are on disk, and how they answer."""
