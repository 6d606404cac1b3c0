"""A finished run: figures from trace and captures, as text, page and story."""
