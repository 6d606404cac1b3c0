"""The named steps of a flash profile in words: one row for each step, as ``sequence.words`` has them for sequences.

What a step sends is decided in ``gateway.flashing``; ``tests/bench/uds/test_named_words.py`` compares the two.
"""

from __future__ import annotations

from collections.abc import Iterator

from otabench.bench.uds.profile import Profile, Step, Window
from otabench.bench.uds.sequence.words import Row

Rows = list[Row]


def acts(profile: Profile) -> dict[str, Rows]:
    """Return the rows of every act that the profile has, in their order."""
    sequence = profile.sequence
    found = {
        "pre_programming": [_row(profile, step) for step in sequence.pre_programming],
        "programming": [_row(profile, step) for step in sequence.programming],
        "activate": [*_activation(profile)],
        "confirm": [_routine(profile.routines.confirm, "confirm")],
        "revert": [_routine(profile.routines.revert, "revert")],
        "post_programming": [_row(profile, step) for step in sequence.post_programming],
    }
    return {act: rows for act, rows in found.items() if rows}


def _activation(profile: Profile) -> Iterator[Row]:
    if profile.routines.check_dependencies is not None:
        yield _routine(profile.routines.check_dependencies, "check dependencies")
    yield _routine(profile.routines.activate, "activate")
    yield Row(0, "reset", f"11 {profile.reset.type:02X}", f"51 {profile.reset.type:02X}")


def _row(profile: Profile, step: Step) -> Row:
    """Return what a step sends and what must be answered."""
    name = step.value.replace("_", " ")
    match step:
        case Step.EXTENDED_SESSION:
            return _session(name, profile.sessions.extended)
        case Step.PROGRAMMING_SESSION:
            return _session(name, profile.sessions.programming)
        case Step.DEFAULT_SESSION:
            return _session(name, profile.sessions.default)
        case Step.DTC_SETTING_OFF | Step.DTC_SETTING_ON:
            dtc = profile.dtc_setting
            setting = dtc.disable if step is Step.DTC_SETTING_OFF else dtc.enable
            return Row(0, name, f"85 {setting:02X}", f"C5 {setting:02X}")
        case Step.COMMUNICATION_OFF | Step.COMMUNICATION_ON:
            control = profile.communication
            how = control.disable if step is Step.COMMUNICATION_OFF else control.enable
            return Row(0, name, f"28 {how:02X} {control.type:02X}", f"68 {how:02X}")
        case Step.UNLOCK:
            seed, key = profile.security.request_seed, profile.security.send_key
            return Row(0, name, f"27 {seed:02X}, then 27 {key:02X} key", f"67 {seed:02X} seed")
        case Step.WRITE_FINGERPRINT:
            did = profile.identifiers.fingerprint
            return Row(0, name, f"2E {did:04X} date, {profile.fingerprint.tester_serial}", f"6E {did:04X}")
        case Step.DOWNLOAD_METADATA:
            return _download(profile, name, profile.memory.metadata)
        case Step.DOWNLOAD_IMAGE:
            return _download(profile, name, profile.memory.image)
        case Step.CHECK_PRECONDITIONS:
            return _routine(profile.routines.check_preconditions, name)
        case Step.ERASE:
            option = f"{profile.memory.format_identifier:02X} address length"
            return _routine(profile.routines.erase, name, option)
        case Step.CHECK_MEMORY:
            return _routine(profile.routines.check_memory, name)


def _session(name: str, session: int) -> Row:
    return Row(0, name, f"10 {session:02X}", f"50 {session:02X} *")


def _routine(routine: int | None, name: str, option: str = "") -> Row:
    if routine is None:
        return Row(0, name, notes="skipped: the profile has no routine for it")
    return Row(0, name, f"31 01 {routine:04X} {option}".strip(), f"71 01 {routine:04X} 00")


def _download(profile: Profile, name: str, window: Window) -> Row:
    request = f"34 format {profile.memory.format_identifier:02X} 0x{window.address:08X} length, then 36 …, 37"
    notes = f"at most {window.size_bytes} bytes; {profile.transfer.max_block_bytes} bytes a message"
    return Row(0, name, request, "74 *, 76 …, 77", notes)
