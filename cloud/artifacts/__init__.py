"""The artifact server: files by HTTP, with ranges."""
