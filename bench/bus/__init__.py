"""CAN interfaces and the frames on them: what this machine has, virtual buses, pacing, sockets.

Frames only: what they mean is for ``uds`` and ``captures``.
"""
