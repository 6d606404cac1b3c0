"""Flash profiles as YAML files. ``uds.profile`` reads them."""
