"""The artifact server: images and patches over HTTP, with byte ranges."""
