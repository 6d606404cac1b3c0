"""What others send or write, mutated: it is accepted, or refused by its named error. `make fuzz` runs more of it."""
