"""Attacks on an update, one story each: what the attacker has and does, and what stops it, by name.

``story`` has the words, ``scene`` what an attack is made on, ``forge`` signs with stolen keys and with others, ``ecu_door`` speaks to an
ECU as a compromised gateway does, ``hostile_server`` serves artifacts. The stories are in ``stories``. ``perform`` makes one attack,
``live`` makes it on the running bench.

The code under attack is never copied here: the gateway's own verification and downloads, the ECU's own programming, the running cloud.
"""
