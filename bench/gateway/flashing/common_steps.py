"""Which steps the ECUs of a bus do together, by one functional request, and which each does by itself. Pure.

    for act in plan(ecus, link.functional_groups(), lambda profile: profile.sequence.pre_programming):
        ...

A functional request reaches every ECU that listens to its address, also those that are not updated. So it is sent only if each of them
has that step, with the same bytes. Otherwise the step goes to each ECU that has it, by its own identifier.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from otabench.bench.gateway.flashing.steps import functional_request
from otabench.bench.uds.profile import Profile, Step


@dataclass(frozen=True)
class SharedStep:
    """One step of one or more ECUs.

    Attributes:
        step: the step.
        ecus: the ECUs that do it now.
        functional_to: any ECU of the functional address to which the request is sent once; None: each ECU receives its own.
    """

    step: Step
    ecus: tuple[str, ...]
    functional_to: str | None = None


def plan(
    ecus: Collection[str], groups: Iterable[Mapping[str, Profile]], steps_of: Callable[[Profile], Sequence[Step]]
) -> list[SharedStep]:
    """Return the steps of all ECUs in an order that keeps each ECU's own.

    Args:
        ecus: those that are to do their steps.
        groups: for each functional address, the profile of every ECU that listens to it.
        steps_of: returns the steps of an ECU with this profile.
    """
    planned: list[SharedStep] = []
    for group in groups:
        left = {name: list(steps_of(group[name])) for name in ecus if name in group}
        while any(left.values()):
            step = _next_step(left)
            now = tuple(name for name, steps in left.items() if steps and steps[0] is step)
            for name in now:
                left[name].pop(0)
            requests = {
                functional_request(step, profile) if step in steps_of(profile) else None for profile in group.values()
            }
            is_common = len(requests) == 1 and requests != {None} and len(now) == len(left)
            planned.append(SharedStep(step, now, now[0] if is_common else None))
    return planned


def _next_step(left: Mapping[str, Sequence[Step]]) -> Step:
    """Return the step that comes next: one for which no ECU has to do another one first, if there is one."""
    firsts = [steps[0] for steps in left.values() if steps]
    for step in firsts:
        if all(step not in steps[1:] or steps[0] is step for steps in left.values()):
            return step
    return firsts[0]
