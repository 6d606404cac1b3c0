"""The ECU's connection to its bus, which comes and goes with its power: the UDS transport, and the application's periodic frames.

While it is closed (no power, booting, a hanging image) the ECU is deaf and mute, as a real one is.
"""

from __future__ import annotations

from otabench.ecu_firmware_sim.bus.application import Application
from otabench.ecu_firmware_sim.bus.opening import open_transport
from otabench.ecu_firmware_sim.bus.transport import NoTransport, Received, Transport, Waker
from otabench.proto.process_config import EcuConfig


class Connection:
    """Closed when it is made."""

    def __init__(self, config: EcuConfig) -> None:
        self.waker = Waker()
        self._config = config
        self._transport: Transport = NoTransport(self.waker)
        self._application = Application(config)

    @property
    def is_open(self) -> bool:
        return not isinstance(self._transport, NoTransport)

    def open(self) -> None:
        """Raise BusUnavailable."""
        self._transport = open_transport(self._config, self.waker)

    def close(self) -> None:
        """Be deaf and mute from now on."""
        # The application first: it must not send a frame after the ECU is silent.
        self._application.stop()
        self._transport.close()
        self._transport = NoTransport(self.waker)

    def receive(self, timeout_s: float | None) -> Received | None:
        """Return the next request, or None at a wake-up or the timeout. Raises TransportDown."""
        return self._transport.receive(timeout_s)

    def is_receiving(self) -> bool:
        """Return whether a request is coming in, whose last frame is missing. Raises TransportDown."""
        return self._transport.is_receiving()

    def send(self, response: bytes) -> None:
        """Send a response. Raises TransportDown."""
        self._transport.send(response)

    def let_application_send(self, allowed: bool) -> None:
        """Start or stop the periodic frames. They need an open connection."""
        self._application.talk(allowed and self.is_open)
