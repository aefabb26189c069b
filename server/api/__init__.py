"""The API: its routes, one module for each family of endpoints, and the types of the answers."""
