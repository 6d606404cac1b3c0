"""The vehicle's gateway: OTA agent, Uptane Primary, UDS flashing and the driver's page.

``process`` runs an ``agent``. Its rooms: ``jobs`` (a job and its states), ``cloud`` (wires to the cloud), ``flashing`` (UDS), ``hmi`` (the
driver's page), ``trust`` (verification of metadata).
"""
