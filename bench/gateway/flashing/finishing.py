"""Post-programming of the ECUs of a bus, and their trouble codes, at the end of a job. What fails is traced, and no reason to stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from otabench.bench.gateway.flashing.common_steps import plan, post_programming
from otabench.bench.gateway.flashing.sequence_ecu import SequenceEcu
from otabench.bench.gateway.flashing.steps import simple_step
from otabench.bench.uds.bus_link import BusLink
from otabench.bench.uds.dtcs import read_dtcs
from otabench.bench.uds.errors import BusUnavailable, FlashError
from otabench.bench.uds.profile import Profile, Step
from otabench.bench.uds.services import suppressed


def finish_bus(link: BusLink, sequence_ecu: Callable[[str], SequenceEcu]) -> None:
    """Run post-programming on every ECU of a bus, then trace the trouble codes that they have stored.

    Args:
        link: the bus.
        sequence_ecu: returns the ECU of that name, whose profile is a sequence profile.
    """
    try:
        _run_post_programming(link, sequence_ecu)
    except BusUnavailable:
        # The failure is traced. Without TesterPresent the ECUs end their sessions by themselves (S3).
        return
    _trace_dtcs(link)


def _run_post_programming(link: BusLink, sequence_ecu: Callable[[str], SequenceEcu]) -> None:
    for act in plan(list(link.endpoints), link.functional_groups(), post_programming):
        if act.request is not None:
            # Nobody waits for the responses, so suppress them (bit 7 of the sub-function).
            request = suppressed(act.request)
            name = f"{request[:2].hex(' ').upper()} (functional)"
            link.send_functional(request, step=name, to=act.ecus[0], is_best_effort=True)
            continue
        for ecu, step in act.steps.items():
            with suppress(FlashError):
                if isinstance(step, Step):
                    simple_step(link.client(ecu), step)
                else:
                    sequence_ecu(ecu).runs.step(step)


def _trace_dtcs(link: BusLink) -> None:
    """Trace the stored trouble codes of the ECUs that have them, now that DTC setting is on again."""
    for name in link.endpoints:
        if not isinstance(link.profile(name), Profile):
            continue
        client = link.client(name)
        try:
            dtcs = read_dtcs(client)
        except FlashError:
            # The exchange without a response is in the trace already.
            continue
        client.emit("ecu.dtcs", dtcs=[str(dtc) for dtc in dtcs])
