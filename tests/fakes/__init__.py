"""Stand-ins for libraries and devices that are not there; they refuse what the real ones refuse."""
