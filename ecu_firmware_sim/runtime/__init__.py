"""An ECU in the course of time: power, boots, trials, requests, pending operations, and what faults do to them."""
