"""Firmware images: made by imgtool from generated contents (``synthetic``) or a user's own binary (``images``)."""
