"""Functional requests: sent only where every ECU that hears them has the step, and no ECU's own order is changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otabench.bench.gateway.flashing.common_steps import SharedStep, plan, pre_programming
from otabench.bench.gateway.flashing.steps import functional_request
from otabench.bench.uds.flash_profiles import AnyProfile
from otabench.bench.uds.profile import Profile, Step, load
from otabench.bench.uds.sequence import profile as sequence_profiles

OWN = load("iso14229-ab")
BEFORE = OWN.sequence.pre_programming
OTHER_SESSION = OWN.model_copy(update={"sessions": OWN.sessions.model_copy(update={"extended": 0x60})})
PLAIN = (Step.EXTENDED_SESSION,)


Sequences = dict[str, tuple[Profile, tuple[Step, ...]]]


SEQUENCES = sequence_profiles.load(sequence_profiles.path_of("single-bank"))


def with_steps(profile: Profile, steps: tuple[Step, ...]) -> Profile:
    return profile.model_copy(update={"sequence": profile.sequence.model_copy(update={"pre_programming": steps})})


def planned_in_groups(sequences: Sequences, *groups: Sequences) -> list[SharedStep]:
    """Plan for ECUs of these profiles, each with these steps before programming."""
    profiles = [{name: with_steps(*each) for name, each in group.items()} for group in groups]
    return plan(sequences, profiles, pre_programming)


def step_of(act: SharedStep) -> Step:
    """Return the step, which is the same for all ECUs of the act."""
    (step,) = {step for step in act.steps.values() if isinstance(step, Step)}
    return step


def planned(
    sequences: dict[str, tuple[Profile, tuple[Step, ...]]], **bystanders: tuple[Profile, tuple[Step, ...]]
) -> list[SharedStep]:
    return planned_in_groups(sequences, {**sequences, **bystanders})


def test_ecus_of_one_profile_do_every_step_together() -> None:
    steps = planned({"engine": (OWN, BEFORE), "adas": (OWN, BEFORE)})
    assert [step_of(each) for each in steps] == list(BEFORE)
    assert all(each.ecus == ("engine", "adas") for each in steps)
    assert [each.request for each in steps] == [functional_request(step, OWN) for step in BEFORE]


def test_a_step_that_one_ecu_does_not_have_goes_to_the_others_by_their_own_identifiers() -> None:
    steps = planned({"engine": (OWN, BEFORE), "board": (OWN, PLAIN)})
    assert steps[0] == SharedStep(dict.fromkeys(("engine", "board"), Step.EXTENDED_SESSION), b"\x10\x03")
    assert all(each.ecus == ("engine",) and each.request is None for each in steps[1:])


def test_an_ecu_that_only_listens_is_asked_too() -> None:
    steps = planned({"engine": (OWN, BEFORE)}, board=(OWN, PLAIN))
    functional = [step_of(each) for each in steps if each.request]
    assert functional == [Step.EXTENDED_SESSION], "85 and 28 would reach the board, which has no such step"
    assert [step_of(each) for each in steps] == list(BEFORE)


def test_the_same_step_with_other_bytes_is_not_common() -> None:
    steps = planned({"engine": (OWN, PLAIN), "board": (OTHER_SESSION, PLAIN)})
    assert steps == [SharedStep({name: Step.EXTENDED_SESSION}) for name in ("engine", "board")]


def test_functional_addresses_do_not_disturb_each_other() -> None:
    sequences = {"engine": (OWN, BEFORE), "board": (OWN, PLAIN)}
    steps = planned_in_groups(sequences, {"engine": sequences["engine"]}, {"board": sequences["board"]})
    assert {each.ecus for each in steps} == {("engine",), ("board",)}
    assert steps[-1] == SharedStep({"board": Step.EXTENDED_SESSION}, b"\x10\x03")


def test_a_sequence_and_named_steps_share_the_requests_that_both_have() -> None:
    group: dict[str, AnyProfile] = {"engine": OWN, "board": SEQUENCES}
    steps = plan(["engine", "board"], [group], pre_programming)
    together = [each.request for each in steps if each.request]
    assert together == [b"\x10\x03", b"\x85\x02", b"\x28\x03\x01"], "the engine's answers are awaited"
    own = [each for each in steps if not each.request]
    assert [each.ecus for each in own] == [("engine",), ("board",)], "the check of preconditions is each ECU's own"


def test_sequences_alone_suppress_what_all_of_them_suppress() -> None:
    steps = plan(["one", "two"], [{"one": SEQUENCES, "two": SEQUENCES}], pre_programming)
    assert [each.request for each in steps if each.request] == [b"\x10\x03", b"\x85\x82", b"\x28\x83\x01"]


orders = st.lists(st.sampled_from(list(BEFORE)), unique=True).map(tuple)


@given(st.dictionaries(st.sampled_from("abcd"), orders, min_size=1), st.dictionaries(st.sampled_from("xy"), orders))
def test_every_ecu_does_its_steps_in_its_own_order_whatever_the_others_have(
    sequences: dict[str, tuple[Step, ...]], bystanders: dict[str, tuple[Step, ...]]
) -> None:
    own = {name: (OWN, steps) for name, steps in sequences.items()}
    steps = planned(own, **{name: (OWN, given) for name, given in bystanders.items()})
    for name, given_steps in sequences.items():
        assert tuple(step_of(each) for each in steps if name in each.ecus) == given_steps
    for each in steps:
        if each.request:
            assert all(step_of(each) in given for given in [*sequences.values(), *bystanders.values()])
            assert each.ecus == tuple(sequences)
