"""Flash profiles, as data: ``bench.gateway.flashing.profile`` reads them."""
