"""A finished run, told: figures from trace and captures, as text, page and story."""
