"""Read the version report that an ECU signs. The gateway passes it on as it is: it cannot change a byte of it."""

from __future__ import annotations

from otabench.bench.uds.client import EcuClient


def read_version_report(client: EcuClient, nonce: bytes) -> bytes:
    """Return the report of an ECU whose flash profile has the routine for it.

    Raises:
        FlashError: see ``EcuClient.request``; EcuRefused if the profile does not have the routine.
    """
    routine = client.profile.routines.version_report
    if routine is None:
        raise client.refusal("version report", "the flash profile does not have routines.version_report")
    # Asked twice, the ECU makes two reports with two counters, either of which is good.
    return client.routine(routine, "version report", nonce, may_repeat=True)
