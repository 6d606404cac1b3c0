"""Bootloaders of other kinds: simulated ECUs that are flashed as real ones are, without this project's slot table and routines.

``personality`` describes the differences as data. ``bootloader`` has the rules that all share, over the simulated NOR flash. ``shipped``
contains the personalities for which the bench ships a flash profile.
"""
