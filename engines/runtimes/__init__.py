"""One module or folder for each target that a bundle can be built for, and the registry that chooses."""
