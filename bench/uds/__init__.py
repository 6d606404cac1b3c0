"""The tester's side of UDS (ISO 14229-1): requests, answers, identities, trouble codes, flash profiles.

``transport`` below it carries messages (ISO 15765-2). Update sequences are in ``gateway.flashing``.
"""
