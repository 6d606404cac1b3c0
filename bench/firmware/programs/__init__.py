"""Program files as build tools write them: Intel HEX, S-record, ELF, VBF, ODX-F, PDX and raw binary.

``reading`` tells them apart by content and reads them; ``program`` is what is read: segments of memory. The other modules read
one format each. Nothing here signs or packs; that is ``firmware.images``.
"""
