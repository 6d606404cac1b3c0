"""The running ECU: everything that depends on time (power, boots, trials, requests, pending operations), and the faults that act on it."""
