"""The ECU's end of the bus: ISO-TP by the kernel or in user space, and the application's periodic frames."""
