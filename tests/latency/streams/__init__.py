"""``just bench streams``: what streams cost beside posts of clips, and how many of them are served, and how evenly."""
