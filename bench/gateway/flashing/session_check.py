"""Try the diagnostic session in which an update of an ECU begins, without beginning one."""

from __future__ import annotations

from otabench.bench.gateway.flashing import steps
from otabench.bench.uds.bus_link import BusLink
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.flash_profiles import AnyProfile
from otabench.bench.uds.profile import Profile, Step
from otabench.bench.uds.sequence import steps as sequence_steps
from otabench.bench.uds.sequence.tester import Exchange
from otabench.proto.trace import TraceWriter

_DEFAULT, _PROGRAMMING = 0x01, 0x02


def try_session(endpoint: EcuEndpoint) -> None:
    """Enter the session of pre-programming, and leave it again. Do nothing if the flash profile does not have one.

    The programming session is not tried, because it may end the ECU's application.

    Raises:
        FlashError: the bus cannot be opened, or the ECU is silent, or it refuses the session.
    """
    link = BusLink([endpoint], TraceWriter(None, component="probe"))
    try:
        profile = link.profile(endpoint.name)
        session = first_session(profile)
        if session is None:
            return
        for each in (session, _DEFAULT):
            request, name = bytes((0x10, each)), f"10 {each:02X} diagnostic session"
            if isinstance(profile, Profile):
                link.client(endpoint.name).request(request, step=name)
            else:
                link.sequence_client(endpoint.name).exchange(Exchange(request, name))
    finally:
        link.close()


def first_session(profile: AnyProfile) -> int | None:
    """Return the session that pre-programming enters, or None if an ECU may do without one."""
    if isinstance(profile, Profile):
        request = steps.functional_request(Step.EXTENDED_SESSION, profile)
        return request[1] if request and Step.EXTENDED_SESSION in profile.sequence.pre_programming else None
    for step in profile.sequences.pre_programming.steps:
        if isinstance(step, sequence_steps.Session) and step.session & 0x7F not in (_DEFAULT, _PROGRAMMING):
            return None if step.optional else step.session & 0x7F
    return None
