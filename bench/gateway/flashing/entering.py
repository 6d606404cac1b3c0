"""Run pre-programming for all ECUs of a bus. A step is sent functionally if every ECU that would hear it has the step.

An ECU that is silent or was reset is skipped here. Its own flashing attempt then runs these steps again, physically.
"""

from __future__ import annotations

from collections.abc import Mapping

from otabench.bench.gateway.flashing.common_steps import SharedStep, plan, pre_programming
from otabench.bench.gateway.flashing.reentry import means_lost
from otabench.bench.gateway.flashing.sequence_ecu import SequenceEcu
from otabench.bench.gateway.flashing.steps import pre_programming_step, title
from otabench.bench.uds.bus_link import BusLink
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.errors import BusUnavailable, EcuLost, EcuRefused
from otabench.bench.uds.profile import Step
from otabench.bench.uds.sequence.steps import AnyStep
from otabench.bench.uds.sequence_client import SequenceClient

Member = EcuClient | SequenceEcu
"""An ECU of either kind of profile."""


def enter_all(link: BusLink, members: Mapping[str, Member], *, attempts: int, may_address_all: bool = True) -> set[str]:
    """Run the steps before programming on these ECUs. Return the names of the ECUs that passed all steps.

    Args:
        link: their bus.
        members: the ECUs, by name.
        attempts: the limit of attempts for each ECU; only written to the trace.
        may_address_all: whether functional requests may be sent at all.

    Raises:
        EcuRefused: one of them refuses a step.
    """
    present = dict(members)
    for planned in plan(present, link.functional_groups(), pre_programming):
        now = {name: step for name, step in planned.steps.items() if name in present}
        shared = SharedStep(now, planned.request if may_address_all else None)
        for name in _run_on_all(link, shared, present, attempts=attempts):
            del present[name]
    return set(present)


def _run_on_all(link: BusLink, shared: SharedStep, members: Mapping[str, Member], *, attempts: int) -> list[str]:
    """Run one step. Return the names of the ECUs that did not answer, or were reset meanwhile."""
    lost = []
    pending = dict(shared.steps)
    if shared.request is not None and pending:
        try:
            # A late response to an earlier request would be taken for the answer to this one.
            for name in pending:
                _client(members[name]).discard_received()
            first = next(iter(pending))
            link.send_functional(
                shared.request, step=f"{_title(shared.request, pending[first])} (functional)", to=first
            )
        except BusUnavailable:
            # The bus is away. Every ECU waits for it in its own attempt.
            return list(pending)
        for name, step in shared.steps.items():
            try:
                _do(members[name], step, sent=shared.request)
                del pending[name]
            except (EcuLost, BusUnavailable):
                continue
            except EcuRefused as error:
                # After a reset an ECU may refuse (24, 33) what was sent to all. It is asked alone below, like one that was silent.
                if not means_lost(error):
                    raise
    for name, step in pending.items():
        try:
            _do(members[name], step)
        except (EcuLost, BusUnavailable):
            lost.append(name)
        except EcuRefused as error:
            # Any refusal other than a lost session is final, for this ECU and so for the whole update.
            if not means_lost(error):
                raise
            _client(members[name]).emit("flash.reentry", step=error.step, attempt=1, of=attempts, reason=str(error))
            lost.append(name)
    return lost


def _client(member: Member) -> EcuClient | SequenceClient:
    return member.client if isinstance(member, SequenceEcu) else member


def _do(member: Member, step: Step | AnyStep, *, sent: bytes = b"") -> None:
    if isinstance(member, SequenceEcu):
        assert not isinstance(step, Step)
        member.runs.step(step, sent=sent)
    else:
        assert isinstance(step, Step)
        pre_programming_step(member, step, is_sent_already=bool(sent))


def _title(request: bytes, step: Step | AnyStep) -> str:
    return title(request, step) if isinstance(step, Step) else request[:2].hex(" ").upper()
