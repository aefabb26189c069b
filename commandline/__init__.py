"""What the commands of all rooms share: their names, their flags' errors and help, the types of values."""
