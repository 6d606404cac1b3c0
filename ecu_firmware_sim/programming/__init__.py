"""What a download does to the memory: raw images, patches, decryption."""
