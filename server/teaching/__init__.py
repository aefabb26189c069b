"""Teaching heads from the page: the examples, the process that teaches, and the drafts that come of it."""
