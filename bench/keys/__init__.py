"""The ceremony of a fleet's keys: new Roots for the Director and the Image repository, signed with the offline keys.

``roots`` makes them (pure), ``ceremony`` replaces keys in the key folders, ``status`` states who holds which key and what ends soon.
"""
