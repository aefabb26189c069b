"""How right a model or a head is on videos whose actions are known. Above the archive, whose decoding it uses."""
