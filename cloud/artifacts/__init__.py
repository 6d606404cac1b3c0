"""The artifact server: images, patches and metadata over HTTP, with byte ranges."""
