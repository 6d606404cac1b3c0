"""The event plane: wake-up events by MQTT."""
