"""Flash profiles, as data: ``uds.profile`` reads them."""
