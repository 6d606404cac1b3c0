"""What both sides of a wire agree on: the control plane's messages, job states, the manifest's profile, the image format, the trace.

Imports nothing of ours. ``cloud``, ``ecu_firmware_sim`` and ``bench`` import from here and never from each other.
"""

if __name__ != "otabench.proto":  # a second name would mean a second copy of every class and constant
    raise ImportError("import otabench.proto, not proto", name=__name__)
