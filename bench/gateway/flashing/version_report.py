"""Read the version report that an ECU signs. The gateway passes it on as it is: it cannot change a byte of it."""

from __future__ import annotations

from otabench.bench.uds.client import EcuClient
from otabench.proto.version_report import MAX_ECU_REPORT_BYTES


def read_version_report(client: EcuClient, nonce: bytes) -> bytes:
    """Return the report of an ECU whose flash profile has the routine for it.

    Raises:
        FlashError: see ``EcuClient.request``; EcuRefused if the profile does not have the routine;
            EcuContradicts if the answer is too long for a report.
    """
    routine = client.profile.routines.version_report
    if routine is None:
        raise client.refusal("version report", "the flash profile does not have routines.version_report")
    # Asked twice, the ECU makes two reports with two counters, either of which is good.
    sealed = client.routine(routine, "version report", nonce, may_repeat=True)
    if len(sealed) > MAX_ECU_REPORT_BYTES:
        raise client.contradiction("version report", f"answered {len(sealed)} bytes, at most {MAX_ECU_REPORT_BYTES}")
    return sealed
