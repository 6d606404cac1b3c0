"""A python-can bus that is opened again after it failed, with its Notifier: what the connections of ``user`` share.

Decides when a bus has failed: python-can could not read it or write to it, for any reason but a full queue. It stays failed, by name,
until ``reopen_if_failed`` is asked for: then it is closed and opened anew, with pauses that double up to two seconds. Bus-off is told
where python-can tells it (SocketCAN: by error frames and the carrier); then the bus stays open, as it comes back by itself.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import can

from otabench.bench.backoff import Backoff
from otabench.bench.uds.transport import errors
from otabench.bench.uds.transport.bus_off import CAN_ERR_BUSOFF, bus_off, is_off

_NOTIFIER_TIMEOUT_S: Final = 0.1
_QUEUE_FULL_WAIT_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_DOWN: Final = frozenset({errno.ENETDOWN, errno.ENETUNREACH})
_WITHOUT_BIT_RATE: Final = ("udp_multicast", "virtual", "socketcan")


class _Supervisor(can.Listener):
    """Keeps the Notifier's thread alive on an error of the bus, and remembers the error."""

    def __init__(self, on_fault: Callable[[], None]) -> None:
        self.error: Exception | None = None
        self.went_off = False
        self.heard = False
        self._on_fault = on_fault
        self._pause = threading.Event()

    def on_message_received(self, msg: can.Message) -> None:
        self.heard = True
        if msg.is_error_frame and msg.arbitration_id & CAN_ERR_BUSOFF:
            self.went_off = True
            self._on_fault()

    def on_error(self, exc: Exception) -> None:
        self.met(exc)
        self._pause.wait(0.2)  # a bus that is gone fails at once and for ever

    def met(self, error: Exception) -> None:
        """The bus failed so."""
        if self.error is None:
            self.error = error
            self._on_fault()

    def stop(self) -> None:
        self._pause.set()


class UserBus:
    """Opens at once.

    Args:
        entry: as passed on to ``can.Bus``.
        name: of the bus, for errors.

    Attributes:
        bus, notifier: of now. ``generation`` counts the openings: what was made of an earlier bus is dead.
        wakers: called, from any thread, when the bus fails or leaves.

    Raises:
        ChannelUnavailable: the bus cannot be opened.
    """

    def __init__(self, entry: Mapping[str, Any], *, name: str) -> None:
        self.bus: can.BusABC
        self.notifier: can.Notifier
        self.generation = 0
        self.wakers: set[Callable[[], None]] = set()
        self._entry = entry
        self._name = name
        self._is_socketcan = entry.get("interface") == "socketcan"
        self._lock = threading.Lock()
        self._pauses = Backoff(first_s=_FIRST_PAUSE_S, max_s=_LONGEST_PAUSE_S)
        self._not_before_s = 0.0
        self._is_open = False
        self._supervisor = _Supervisor(self._wake)
        self._open()

    @property
    def has_failed(self) -> bool:
        """Whether it must be opened again."""
        return not self._is_open or self._supervisor.error is not None

    def check(self) -> None:
        """Raise what ails the bus.

        Raises:
            InterfaceDown: the network interface below it is down.
            InterfaceGone: it cannot be read or written any more.
            TransmitQueueFull: its queue stayed full.
            BusOff: its controller has left the bus, now or since ``forget_bus_off``.
        """
        error = self._supervisor.error
        if error is not None:
            if _number(error) in _DOWN:
                raise errors.InterfaceDown(
                    f"{self._name}: {error}: the interface is down: plug the adapter in, or ip link set DEV up"
                ) from error
            if _is_full(error):
                raise errors.TransmitQueueFull(
                    f"{self._name}: the transmit queue stayed full: {error}: is the bus terminated?"
                ) from error
            raise errors.InterfaceGone(f"{self._name}: the bus failed: {error}: plug the adapter in") from error
        if self._supervisor.went_off or (self._is_socketcan and is_off(self._name)):
            raise bus_off(self._name, self._name)

    def forget_bus_off(self) -> None:
        """A bus-off that is over is not the concern of what follows."""
        self._supervisor.went_off = False

    def reopen_if_failed(self) -> None:
        """Open a failed bus again, unless the last try was a moment ago.

        Raises:
            ChannelUnavailable: it cannot be opened yet.
        """
        with self._lock:
            if not self.has_failed:
                return
            if time.monotonic() < self._not_before_s:
                raise errors.ChannelUnavailable(f"{self._name}: is away: plug the adapter in")
            if self._supervisor.heard:
                self._pauses.reset()
            self._not_before_s = time.monotonic() + self._pauses.next_s()
            self._shut()
            self._open()

    def send(self, message: can.Message) -> None:
        """Send a frame; a full queue is waited for, a while. What fails is not raised but remembered, for ``check``."""
        deadline = time.monotonic() + _QUEUE_FULL_WAIT_S
        while self._is_open:
            try:
                self.bus.send(message)
                return
            except Exception as error:  # noqa: BLE001  # python-can's interfaces raise what they like
                if not _is_full(error) or time.monotonic() > deadline:
                    self._supervisor.met(error)
                    return
            time.sleep(0.002)

    def close(self) -> None:
        """Close it for good."""
        with self._lock:
            self._not_before_s = float("inf")
            self._shut()

    def _open(self) -> None:
        interface = self._entry.get("interface")
        takes_bit_rate = interface not in _WITHOUT_BIT_RATE
        arguments = {key: value for key, value in self._entry.items() if key != "bitrate" or takes_bit_rate}
        try:
            self.bus = can.Bus(**arguments)
        except (can.CanError, OSError, ValueError, TypeError, NotImplementedError) as error:
            remedy = "setup/vcan.sh, or run by setup/with-can" if self._is_socketcan else "plug the adapter in"
            raise errors.ChannelUnavailable(
                f"{self._name}: cannot be opened as interface {interface}: {error}: is it there? ({remedy})"
            ) from error
        self._supervisor = _Supervisor(self._wake)
        self.notifier = can.Notifier(self.bus, [self._supervisor], timeout=_NOTIFIER_TIMEOUT_S)
        self.generation += 1
        self._is_open = True

    def _shut(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self.notifier.stop()
        with contextlib.suppress(can.CanError, OSError):  # slcan says good-bye to an adapter that is not there
            self.bus.shutdown()

    def _wake(self) -> None:
        for wake in tuple(self.wakers):
            wake()


def _number(error: BaseException | None) -> int | None:
    """Return the errno below python-can's errors."""
    while error is not None:
        number = getattr(error, "error_code", None) or getattr(error, "errno", None)
        if isinstance(number, int):
            return number
        error = error.__cause__
    return None


def _is_full(error: Exception) -> bool:
    return _number(error) == errno.ENOBUFS or "buffer full" in str(error)
