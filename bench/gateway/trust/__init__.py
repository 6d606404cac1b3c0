"""The Uptane Primary: verification of the Director's metadata.

``primary`` verifies signatures and keeps the accepted metadata. ``manifest`` and ``vehicle_versions`` judge the contents; they use neither
files nor network.
"""
