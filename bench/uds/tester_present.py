"""Functional requests, above all TesterPresent (3E 80), which keeps all ECUs of a bus in their sessions while one is programmed.

An ECU that receives no request for S3 (5 s, ISO 14229-2) returns to the default session. TesterPresent sets
suppressPosRspMsgIndicationBit (80), so that ECUs do not answer it: their answers would take bus time from the transfer.
"""

from __future__ import annotations

import threading

from otabench.bench.uds.errors import BusUnavailable
from otabench.bench.uds.transport import Channel, TransportError
from otabench.proto.process_config import IsoTpConfig
from otabench.proto.trace import TraceWriter


class TesterPresent:
    """A thread that sends TesterPresent from ``start`` to ``stop``. Both may be called again.

    An error does not end the thread: it tries again after the next period.
    """

    def __init__(
        self, channel: Channel, *, can_id: int, isotp: IsoTpConfig, period_s: float, trace: TraceWriter, job_id: str
    ) -> None:
        self._channel = channel
        self._can_id = can_id
        self._isotp = isotp
        self._period_s = period_s
        self._trace = trace
        self._job_id = job_id
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start sending. The first request goes out after one period."""
        if self._thread is None:
            self._stop.clear()
            # A daemon: a gateway that ends must not wait for its next period.
            self._thread = threading.Thread(target=self._run, name=f"tester-present {self._channel.name}", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Stop sending."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            send_functional(
                self._channel,
                b"\x3e\x80",
                can_id=self._can_id,
                isotp=self._isotp,
                trace=self._trace,
                job_id=self._job_id,
                step="3E 80 tester present (functional)",
                is_best_effort=True,
            )


def send_functional(
    channel: Channel,
    request: bytes,
    *,
    can_id: int,
    isotp: IsoTpConfig,
    trace: TraceWriter,
    job_id: str | None,
    step: str,
    is_best_effort: bool = False,
) -> None:
    """Send one functional request and trace it. Callers collect the responses themselves.

    Raises:
        BusUnavailable: the request could not be sent. With ``is_best_effort`` this is only traced.
    """
    problem = ""
    try:
        channel.send_functional(can_id, request, isotp=isotp)
    except TransportError as error:
        problem = type(error).__name__
        if not is_best_effort:
            raise BusUnavailable(str(error), ecu="", step=step) from error
    finally:
        data = {"problem": problem} if problem else {}
        trace.emit(
            "uds.exchange",
            job_id=job_id,
            service=f"{request[0]:02X}",
            request=request.hex(),
            response="",
            nrc=None,
            duration_ms=0.0,
            request_bytes=len(request),
            step=step,
            functional_id=can_id,
            **data,
        )
