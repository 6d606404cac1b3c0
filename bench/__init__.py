"""The bench: topology, launcher, gateway, captures, report and command line."""
