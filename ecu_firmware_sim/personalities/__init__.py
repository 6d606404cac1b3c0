"""Bootloaders that are not ours: simulated ECUs that are flashed as real ones are, without slot table and routines of this project.

``personality`` says in data how one differs from the next; ``bootloader`` is the rules that all share, over the simulated NOR flash;
``shipped`` holds the personalities for which the bench ships a flash profile.
"""
