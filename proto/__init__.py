"""The contracts between processes: gRPC messages, job states, the manifest's fields, image format, addressing, trace, configuration.

``cloud``, ``ecu_firmware_sim`` and ``bench`` import from here and never from each other. This package does not import them.
"""

# Imported under a second name, every class and constant would exist twice, and comparisons between the copies would fail.
if __name__ != "otabench.proto":
    raise ImportError("import otabench.proto, not proto", name=__name__)
