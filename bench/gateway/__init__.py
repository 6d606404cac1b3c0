"""The vehicle's gateway: OTA agent, Uptane Primary, UDS flashing and the driver's HMI."""
