"""Read the identity of one ECU, whatever kind of flash profile it has, without a gateway."""

from __future__ import annotations

import tempfile
from pathlib import Path

from otabench.bench.gateway.flashing.records import EcuRecords
from otabench.bench.gateway.flashing.sequence_reading import SequenceReading
from otabench.bench.uds import identity
from otabench.bench.uds.bus_link import BusLink
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.identity import EcuIdentity
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.proto.trace import TraceWriter


def probe(endpoint: EcuEndpoint, trace: TraceWriter | None = None) -> EcuIdentity:
    """Return the identity of one ECU. Open its bus for this call only.

    Raises:
        FlashError: the bus cannot be opened, the ECU is silent, or a response does not fit.
    """
    link = BusLink([endpoint], trace or TraceWriter(None, component="probe"))
    if not isinstance(link.profile(endpoint.name), SequenceProfile):
        return identity.probe(endpoint, trace)
    try:
        # There is no record of jobs outside a gateway. What the ECU does not report stays unknown.
        with tempfile.TemporaryDirectory(prefix="otabench-probe-") as empty:
            return SequenceReading(link.sequence_client(endpoint.name), EcuRecords(Path(empty))).identity()
    finally:
        link.close()
