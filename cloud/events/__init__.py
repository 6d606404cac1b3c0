"""The event plane: the publisher of wake-up events over MQTT, and the embedded broker."""
