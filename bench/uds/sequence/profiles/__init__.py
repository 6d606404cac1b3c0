"""Shipped sequence profiles, one for each shape of bootloader: copy one, change it, and name the copy in the bench file."""
