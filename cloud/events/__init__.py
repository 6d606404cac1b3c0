"""The event plane: wake-up events by MQTT, and the embedded broker."""
