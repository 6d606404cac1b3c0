"""A draft profile out of what an existing tool was seen to send to an ECU.

``heard`` is the input, ``explain`` finds out what bytes mean, ``steps`` turns exchanges into steps, ``loops`` finds what repeats from
block to block, ``profile`` puts the acts together and writes the file.
"""
