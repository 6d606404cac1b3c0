"""A python-can bus with its Notifier, shared by the connections of ``user_space``. It can be opened again after a failure.

Rules:

* A bus has failed when python-can could not read from it or write to it. A transmit queue that is full for a moment does not count.
* A failed bus stays failed until ``reopen_if_failed`` closes and opens it again, with pauses that double up to two seconds.
* Bus-off is detected where python-can reports it (on SocketCAN: error frames and the carrier). The bus then stays open, because the
  controller recovers without a new socket.
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
from otabench.bench.deadline import Deadline
from otabench.bench.setup_programs import command_of
from otabench.bench.uds.transport import errors
from otabench.bench.uds.transport.bus_off import CAN_ERR_BUSOFF, bus_off, is_off
from otabench.bench.uds.transport.channel import QUEUE_FULL_PAUSE_S, QUEUE_FULL_TIMEOUT_S

# How long python-can's receiving thread blocks, and so how long it takes to stop a Notifier.
_NOTIFIER_TIMEOUT_S: Final = 0.1
_FIRST_PAUSE_S: Final = 0.1
_MAX_PAUSE_S: Final = 2.0
_DOWN: Final = frozenset({errno.ENETDOWN, errno.ENETUNREACH})
# python-can's socketcan ignores a bit rate, because the interface is set up outside. The two others have no bit rate.
_WITHOUT_BIT_RATE: Final = ("udp_multicast", "virtual", "socketcan")


class _Supervisor(can.Listener):
    """A listener that remembers the error of the bus and keeps the Notifier's thread alive.

    Without a listener whose ``on_error`` returns, any exception ends that thread.
    """

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
        self.record(exc)
        # On an interface that is gone every read fails at once. Without a pause the Notifier would spin.
        self._pause.wait(0.2)

    def record(self, error: Exception) -> None:
        """Keep the first error of the bus. Later errors are its consequences."""
        if self.error is None:
            self.error = error
            self._on_fault()

    def stop(self) -> None:
        self._pause.set()


class UserBus:
    """A python-can bus, open after construction.

    Args:
        entry: keyword arguments for ``can.Bus``.
        name: the name of the bus in error messages.

    Attributes:
        bus: the current python-can bus.
        notifier: its Notifier.
        generation: how often the bus was opened. A stack on an earlier bus is dead.
        wakers: functions that are called, from any thread, when the bus fails or goes bus-off.

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
        self._pauses = Backoff(first_s=_FIRST_PAUSE_S, max_s=_MAX_PAUSE_S)
        self._not_before_s = 0.0
        self._is_open = False
        self._supervisor = _Supervisor(self._wake)
        self._open()

    @property
    def has_failed(self) -> bool:
        """Whether the bus must be opened again."""
        return not self._is_open or self._supervisor.error is not None

    def check(self) -> None:
        """Raise the error of the bus, if there is one.

        Raises:
            InterfaceDown: the network interface is down.
            InterfaceGone: python-can cannot read or write any more.
            TransmitQueueFull: the transmit queue stayed full.
            BusOff: the controller is off the bus, or has been since ``forget_bus_off``.
        """
        error = self._supervisor.error
        if error is not None:
            if _number(error) in _DOWN:
                raise errors.InterfaceDown(f"{self._name}: {error}: {errors.InterfaceDown.text}") from error
            if _is_full(error):
                raise errors.TransmitQueueFull(f"{self._name}: {error}: {errors.TransmitQueueFull.text}") from error
            raise errors.InterfaceGone(f"{self._name}: the bus failed: {error}: plug the adapter in") from error
        if self._supervisor.went_off or (self._is_socketcan and is_off(self._name)):
            raise bus_off(self._name, self._name)

    def forget_bus_off(self) -> None:
        """Forget an earlier bus-off, which does not concern the next request."""
        self._supervisor.went_off = False

    def reopen_if_failed(self) -> None:
        """Open a failed bus again, unless the last attempt was a moment ago.

        Raises:
            ChannelUnavailable: the bus cannot be opened yet.
        """
        with self._lock:
            if not self.has_failed:
                return
            if time.monotonic() < self._not_before_s:
                raise errors.ChannelUnavailable(f"{self._name}: is away: plug the adapter in")
            # Only a received frame proves that the bus works. An adapter may accept ``open`` and fail at once.
            if self._supervisor.heard:
                self._pauses.reset()
            self._not_before_s = time.monotonic() + self._pauses.next_s()
            self._shut()
            self._open()

    def send(self, message: can.Message) -> None:
        """Send a frame. Wait up to ``QUEUE_FULL_TIMEOUT_S`` while the queue is full.

        This method does not raise, because the stack's thread calls it. ``check`` raises the error.
        """
        deadline = Deadline(QUEUE_FULL_TIMEOUT_S)
        while self._is_open:
            try:
                self.bus.send(message)
                return
            except Exception as error:  # noqa: BLE001  # python-can's interfaces raise any exception
                if not _is_full(error) or deadline.has_passed():
                    self._supervisor.record(error)
                    return
            deadline.pause(QUEUE_FULL_PAUSE_S)

    def close(self) -> None:
        """Close the bus for good."""
        with self._lock:
            # A closed bus must not be opened again by a connection that is still in use.
            self._not_before_s = float("inf")
            self._shut()

    def _open(self) -> None:
        interface = self._entry.get("interface")
        # Leave the bit rate out where the interface ignores it or refuses the argument. ``ip link`` sets that of a SocketCAN interface.
        takes_bit_rate = interface not in _WITHOUT_BIT_RATE
        arguments = {key: value for key, value in self._entry.items() if key != "bitrate" or takes_bit_rate}
        try:
            self.bus = can.Bus(**arguments)
        except (can.CanError, OSError, ValueError, TypeError, NotImplementedError) as error:
            remedy = (
                f"run by {command_of('with-can')}, or, where the kernel has CAN, {command_of('vcan.sh')}"
                if self._is_socketcan
                else "plug the adapter in"
            )
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
        # slcan writes a closing command to its adapter, even if the adapter is gone.
        with contextlib.suppress(can.CanError, OSError):
            self.bus.shutdown()

    def _wake(self) -> None:
        for wake in tuple(self.wakers):
            wake()


def _number(error: BaseException | None) -> int | None:
    """Return the errno below an error of python-can, which stores it under one of two names, or only in its cause."""
    while error is not None:
        number = getattr(error, "error_code", None) or getattr(error, "errno", None)
        if isinstance(number, int):
            return number
        error = error.__cause__
    return None


def _is_full(error: Exception) -> bool:
    return _number(error) == errno.ENOBUFS or "buffer full" in str(error)
