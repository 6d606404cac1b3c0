"""Functional requests: sent only where every ECU that hears them has the step, and no ECU's own order is changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.gateway.flashing.common_steps import SharedStep, plan
from otabench.bench.gateway.flashing.steps import functional_request
from otabench.bench.uds.profile import Profile, Step, load

OWN = load("iso14229-ab")
BEFORE = OWN.sequence.pre_programming
OTHER_SESSION = OWN.model_copy(update={"sessions": OWN.sessions.model_copy(update={"extended": 0x60})})
PLAIN = (Step.EXTENDED_SESSION,)


Sequences = dict[str, tuple[Profile, tuple[Step, ...]]]


def with_steps(profile: Profile, steps: tuple[Step, ...]) -> Profile:
    return profile.model_copy(update={"sequence": profile.sequence.model_copy(update={"pre_programming": steps})})


def planned_in_groups(sequences: Sequences, *groups: Sequences) -> list[SharedStep]:
    """Plan for ECUs of these profiles, each with these steps before programming."""
    profiles = [{name: with_steps(*each) for name, each in group.items()} for group in groups]
    return plan(sequences, profiles, lambda profile: profile.sequence.pre_programming)


def planned(
    sequences: dict[str, tuple[Profile, tuple[Step, ...]]], **bystanders: tuple[Profile, tuple[Step, ...]]
) -> list[SharedStep]:
    return planned_in_groups(sequences, {**sequences, **bystanders})


def test_ecus_of_one_profile_do_every_step_together() -> None:
    steps = planned({"engine": (OWN, BEFORE), "adas": (OWN, BEFORE)})
    assert [each.step for each in steps] == list(BEFORE)
    assert all(each.ecus == ("engine", "adas") for each in steps)
    assert [each.functional_to is not None for each in steps] == [
        functional_request(step, OWN) is not None for step in BEFORE
    ]


def test_a_step_that_one_ecu_does_not_have_goes_to_the_others_by_their_own_identifiers() -> None:
    steps = planned({"engine": (OWN, BEFORE), "board": (OWN, PLAIN)})
    assert steps[0] == SharedStep(Step.EXTENDED_SESSION, ("engine", "board"), "engine")
    assert all(each.ecus == ("engine",) and each.functional_to is None for each in steps[1:])


def test_an_ecu_that_only_listens_is_asked_too() -> None:
    steps = planned({"engine": (OWN, BEFORE)}, board=(OWN, PLAIN))
    functional = [each.step for each in steps if each.functional_to]
    assert functional == [Step.EXTENDED_SESSION], "85 and 28 would reach the board, which has no such step"
    assert [each.step for each in steps] == list(BEFORE)


def test_the_same_step_with_other_bytes_is_not_common() -> None:
    steps = planned({"engine": (OWN, PLAIN), "board": (OTHER_SESSION, PLAIN)})
    assert steps == [SharedStep(Step.EXTENDED_SESSION, ("engine", "board"), None)]


def test_functional_addresses_do_not_disturb_each_other() -> None:
    sequences = {"engine": (OWN, BEFORE), "board": (OWN, PLAIN)}
    steps = planned_in_groups(sequences, {"engine": sequences["engine"]}, {"board": sequences["board"]})
    assert {each.ecus for each in steps} == {("engine",), ("board",)}
    assert steps[-1] == SharedStep(Step.EXTENDED_SESSION, ("board",), "board")


orders = st.lists(st.sampled_from(list(BEFORE)), unique=True).map(tuple)


@given(st.dictionaries(st.sampled_from("abcd"), orders, min_size=1), st.dictionaries(st.sampled_from("xy"), orders))
def test_every_ecu_does_its_steps_in_its_own_order_whatever_the_others_have(
    sequences: dict[str, tuple[Step, ...]], bystanders: dict[str, tuple[Step, ...]]
) -> None:
    own = {name: (OWN, steps) for name, steps in sequences.items()}
    steps = planned(own, **{name: (OWN, given) for name, given in bystanders.items()})
    for name, given_steps in sequences.items():
        assert tuple(each.step for each in steps if name in each.ecus) == given_steps
    for each in steps:
        if each.functional_to:
            assert all(each.step in given for given in [*sequences.values(), *bystanders.values()])
            assert each.ecus == tuple(sequences)
