"""The gateway's connections to the cloud: gRPC calls and reports, wake-up events over MQTT, downloads by HTTP."""
