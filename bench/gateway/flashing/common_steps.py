"""Which steps the ECUs of a bus do together, by one functional request, and which each does by itself. Pure.

    for act in plan(ecus, link.functional_groups(), pre_programming):
        ...

A functional request reaches every ECU that listens to its address, also those that are not updated. So it is sent only if each of them
has that step, with the same bytes. Otherwise the step goes to each ECU that has it, by its own identifier. This holds for named steps and
for the steps of sequences (``to: all``) alike, so that ECUs with both kinds of profiles may share a bus.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from otabench.bench.gateway.flashing import steps
from otabench.bench.uds.flash_profiles import AnyProfile
from otabench.bench.uds.profile import Profile, Step
from otabench.bench.uds.sequence import functional
from otabench.bench.uds.sequence.steps import AnyStep, Common
from otabench.bench.uds.services import suppressed

AnyAct = Sequence[Step | AnyStep]
_Key = bytes | tuple[str, int] | Step


@dataclass(frozen=True)
class SharedStep:
    """One step of one or more ECUs.

    Attributes:
        steps: the step of each ECU that does it now, in its own words.
        request: what is sent to all ECUs at once; None: each ECU does its step by itself.
    """

    steps: Mapping[str, Step | AnyStep]
    request: bytes | None = None

    @property
    def ecus(self) -> tuple[str, ...]:
        """The ECUs that do it now."""
        return tuple(self.steps)


def pre_programming(profile: AnyProfile) -> AnyAct:
    """Return the steps before programming."""
    return profile.sequence.pre_programming if isinstance(profile, Profile) else profile.sequences.pre_programming.steps


def post_programming(profile: AnyProfile) -> AnyAct:
    """Return the steps after programming."""
    return (
        profile.sequence.post_programming if isinstance(profile, Profile) else profile.sequences.post_programming.steps
    )


def functional_request(step: Step | AnyStep, profile: AnyProfile) -> bytes | None:
    """Return the request of a step that can be sent to all ECUs at once, without its suppress bit; None if it cannot."""
    if isinstance(step, Step):
        assert isinstance(profile, Profile)
        return steps.functional_request(step, profile)
    return functional.functional_request(step)


def plan(
    ecus: Collection[str], groups: Iterable[Mapping[str, AnyProfile]], steps_of: Callable[[AnyProfile], AnyAct]
) -> list[SharedStep]:
    """Return the steps of all ECUs in an order that keeps each ECU's own.

    Args:
        ecus: those that are to do their steps.
        groups: for each functional address, the profile of every ECU that listens to it.
        steps_of: returns the steps of an ECU with this profile.
    """
    planned: list[SharedStep] = []
    for group in groups:
        own = {name: list(steps_of(profile)) for name, profile in group.items()}
        keys = {
            name: [_key(name, number, step, group[name]) for number, step in enumerate(steps)]
            for name, steps in own.items()
        }
        left = {name: list(keys[name]) for name in ecus if name in group}
        # Merge the ECUs' lists into one: take the next step, and remove it from every ECU that has it first.
        while any(left.values()):
            key = _next_key(left)
            now = {
                name: own[name][len(own[name]) - len(keys_left)]
                for name, keys_left in left.items()
                if keys_left and keys_left[0] == key
            }
            for name in now:
                left[name].pop(0)
            # Functional only if every ECU that listens has the step (``keys``), and all that are updated do it now (``left``).
            is_common = isinstance(key, bytes) and len(now) == len(left) and all(key in each for each in keys.values())
            planned.append(SharedStep(now, _request(key, now) if is_common and isinstance(key, bytes) else None))
    return planned


def _key(name: str, number: int, step: Step | AnyStep, profile: AnyProfile) -> _Key:
    """Return a key that is equal for steps that may be done together."""
    request = functional_request(step, profile)
    if request is not None:
        return request
    # A step of a sequence that concerns one ECU gets a key of its own, so that it is never merged.
    return step if isinstance(step, Step) else (name, number)


def _next_key(left: Mapping[str, Sequence[_Key]]) -> _Key:
    """Return the step that comes next: one for which no ECU has to do another one first, if there is one."""
    firsts = [keys[0] for keys in left.values() if keys]
    for key in firsts:
        if all(key not in keys[1:] or keys[0] == key for keys in left.values()):
            return key
    # Two ECUs have the same two steps in opposite orders. One of the steps is then carried out twice, each time for one ECU.
    return firsts[0]


def _request(request: bytes, now: Mapping[str, Step | AnyStep]) -> bytes:
    """Return the request for all of these ECUs. Nobody answers it if no ECU's step waits for a response."""
    nobody_waits = all(isinstance(step, Common) and step.suppress for step in now.values())
    return suppressed(request) if nobody_waits else request
