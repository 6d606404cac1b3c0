"""The stories, by subject. ``catalogue`` has all of them, in the order of the table."""
