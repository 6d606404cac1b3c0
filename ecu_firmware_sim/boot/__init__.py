"""Slots, images and the bootloader that verifies, boots, confirms or rolls back."""
