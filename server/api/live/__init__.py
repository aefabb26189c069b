"""The page: its HTML, and its scripts and styles under addresses that change with their content."""
