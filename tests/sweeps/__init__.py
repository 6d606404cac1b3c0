"""Sweeps of faults through whole updates, and what they stand on."""
