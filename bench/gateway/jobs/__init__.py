"""A job in the vehicle: its states, what is done in each, and what of it survives a restart."""
