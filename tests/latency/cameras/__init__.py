"""How many cameras a machine holds."""
