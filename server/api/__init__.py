"""What clients call: routes, one module for each family of endpoints, and their answers."""
