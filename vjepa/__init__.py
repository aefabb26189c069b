"""The command ``vjepa``, which an installation has: it starts the other programs and tells what runs here."""
