"""otabench: over-the-air updates of vehicles on a bench, from a signed campaign in the cloud to frames on a CAN bus.

bench             the bench: topology, buses, gateway, launcher, reports, command line, pytest plugin
cloud             campaigns, the Director, artifacts and wake-up events
ecu_firmware_sim  simulated ECUs
proto             what both ends of a wire agree on
setup             programs that make a machine ready; not imported

In a checkout these folders lie beside this one, and symbolic links lead to them. Everything is imported as ``otabench.…``,
so that an installed otabench takes no other name: ``proto`` belongs to proto-plus, and ``bench`` may be a user's own module.
"""
