"""What both sides of a wire agree on: gRPC messages, job states, the manifest's fields, image format, addressing, trace, configuration.

``cloud``, ``ecu_firmware_sim`` and ``bench`` import from here and never from each other; proto imports none of them.
"""

if __name__ != "otabench.proto":  # a second name would mean a second copy of every class and constant
    raise ImportError("import otabench.proto, not proto", name=__name__)
