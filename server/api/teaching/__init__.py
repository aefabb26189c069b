"""Teaching heads over HTTP, for the view Actions of the page; only with ``--teaching``."""
