"""The tester's side of UDS (ISO 14229-1): requests, responses, identities, trouble codes, flash profiles.

``transport`` carries the messages (ISO 15765-2). Update sequences are in ``gateway.flashing``.
"""
