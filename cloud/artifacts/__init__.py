"""The artifact server: images, patches and metadata by HTTP, with ranges."""
