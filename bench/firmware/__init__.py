"""Firmware images of the bench: made by imgtool from generated code or a user's own binary."""
