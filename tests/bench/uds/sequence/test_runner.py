"""The runner: what each kind of step sends, what it accepts, and how each refusal, silence and lie of an ECU ends."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from otabench.bench.uds.errors import EcuContradicts, EcuLost, EcuRefused, FlashError, ProfileInvalid
from otabench.bench.uds.sequence.checksums import crc_over
from otabench.bench.uds.sequence.material import Block, BlockKind, EraseArea, Material
from otabench.bench.uds.sequence.profile import SequenceProfile
from otabench.bench.uds.sequence.runner import Runner
from otabench.bench.uds.sequence.scope import RunScope
from tests.bench.uds.sequence.scripted_ecu import ScriptedEcu

DRIVER = Block(0x2000_0000, b"driver", BlockKind.DRIVER)
APP = Block(0x0800_0000, bytes(range(70)), records=((0x0800_0000, b"ab"), (0x0800_0002, b"cd")))
MATERIAL = Material((DRIVER, APP), erase=(EraseArea(0x0800_0000, 0x1000), EraseArea(0x0801_0000, 0x800)))


def run_on(ecu: ScriptedEcu, steps: str, *, material: Material = MATERIAL, **more: Any) -> None:
    """Carry out the steps, with ``more`` keys of the profile."""
    given = {"name": "test", "sequences": {"programming": yaml.safe_load(steps)}, **more}
    profile = SequenceProfile.model_validate(given)
    scope = RunScope(material, profile.values, datetime(2026, 11, 28, tzinfo=UTC))
    Runner(ecu, scope, times=profile.times).run(profile.sequences.programming)


def run(steps: str, answers: dict[str, list[str]] | None = None, **more: Any) -> ScriptedEcu:
    ecu = ScriptedEcu(answers)
    run_on(ecu, steps, **more)
    return ecu


def sent(ecu: ScriptedEcu) -> list[str]:
    return [each.hex(" ").upper() for each in ecu.sent]


def failure(steps: str, answers: dict[str, list[str]], kind: type[FlashError], **more: Any) -> str:
    with pytest.raises(kind) as failed:
        run(steps, answers, **more)
    assert type(failed.value) is kind
    return str(failed.value)


def test_simple_steps_send_what_they_say() -> None:
    ecu = run(
        """
        - session: 0x60
        - write_did: 0xF15A
          data: "55 55"
        - read_did: 0xF190
        - tester_present: true
        - request: "14 FF FF FF"
        - wait: 2.5
        - reset: 0x01
          deaf_s: 0.5
        """
    )
    assert sent(ecu) == ["10 60", "2E F1 5A 55 55", "22 F1 90", "3E 00", "14 FF FF FF", "11 01"]
    assert ecu.waited_s == [2.5, 0.5]
    assert ecu.resets == 1


def test_functional_and_suppressed_requests_are_marked_and_not_waited_for() -> None:
    ecu = run('[{request: "85 02", to: all, suppress: true}, {session: 3, suppress: true}]')
    assert sent(ecu) == ["85 82", "10 83"]
    assert [(each.functional, each.expects_answer) for each in ecu.exchanges] == [(True, False), (False, False)]


def test_times_of_a_session_are_used_unless_the_profile_distrusts_them() -> None:
    answer = {"10 02": ["50 02 00 32 01 F4"]}
    assert run("[{session: 2}]", answer).times == (1.05, 6.0)
    assert run("[{session: 2, timing: false}]", answer).times is None
    assert run("[{session: 2}]", {"10 02": ["50 02"]}).times is None


def test_a_session_that_resets_the_ecu_may_be_answered_late_or_never() -> None:
    silent = run("[{session: 2, answers_after_reset: true, deaf_s: 0.2}]", {"10 02": [""]})
    assert (silent.resets, silent.waited_s) == (1, [0.2])
    failure("[{session: 2}]", {"10 02": [""]}, EcuLost)


def test_two_levels_are_unlocked_each_with_its_own_seed() -> None:
    ecu = run(
        "[{unlock: 1}, {unlock: 0x61, send_key: 0x62, record: 'AA'}]",
        {"27 01": ["67 01 10 20 30"], "27 61": ["67 61 0F"]},
    )
    assert sent(ecu) == ["27 01", "27 02 11 21 31", "27 61 AA", "27 62 6E"]


def test_no_key_is_sent_to_an_ecu_that_is_unlocked_already() -> None:
    assert sent(run("[{unlock: 0x11}]", {"27 11": ["67 11 00 00 00 00"]})) == ["27 11"]


def test_the_secret_is_chosen_by_what_was_read_before_the_seed_is_requested() -> None:
    steps = "[{read_did: 0xF191, save: hardware}, {unlock: 1, choose_by: hardware}]"
    for record, choice in (("33 39 41 00 20 FF", "39A"), ("01 02", "0102")):
        ecu = run(steps, {"22 F1 91": [f"62 F1 91 {record}"], "27 01": ["67 01 10"]})
        assert ecu.choices == [choice]
    text = failure(
        steps.replace("save: hardware", "save: hardware, optional: true"), {"22 F1 91": ["7F 22 31"]}, ProfileInvalid
    )
    assert "{hardware} was not read yet" in text


def test_a_request_with_another_identifier_carries_it_and_one_of_obd_may_stay_unanswered() -> None:
    ecu = run(
        "[{request: '04', request_id: 0x700, response_id: 0x7E9}, {request: '04', request_id: 0x700, suppress: true}]"
    )
    assert [(each.payload, each.request_id, each.response_id, each.expects_answer) for each in ecu.exchanges] == [
        (b"\x04", 0x700, 0x7E9, True),
        (b"\x04", 0x700, None, False),
    ]


def test_the_proof_signs_what_the_profile_says() -> None:
    ecu = run(
        "[{authenticate: unidirectional, communication: 7, signed: 'AA {challenge}'}, {write_did: 1, data: '{challenge}'}]",
        {"29 01": ["69 01 11 00 02 C1 C2 00 00"], "29 03": ["69 03 12 00 00"]},
    )
    proof = b"signed \xaa\xc1\xc2"
    assert sent(ecu) == [
        "29 01 07 00 05 30 03 02 01 00 00 00",
        f"29 03 00 {len(proof):02X} {proof.hex(' ').upper()} 00 00",
        "2E 00 01 C1 C2",
    ]


class TestRoutines:
    """Statuses, polls, and what ends them."""

    ERASE = """
        - routine: 0xFF00
          option: "82 F0 5A"
          status: {done: 2, in_progress: 1, failed: {3: "the flash cannot be erased"}}
          poll: {ask: %s, every_s: 0.5, limit_s: 60}
        """

    def test_the_same_request_is_repeated_until_its_status(self) -> None:
        ecu = run(self.ERASE % "start", {"31 01 FF 00": ["71 01 FF 00 01", "71 01 FF 00 01", "71 01 FF 00 02"]})
        assert sent(ecu) == ["31 01 FF 00 82 F0 5A"] * 3
        assert ecu.waited_s == [0.5, 0.5]

    def test_results_are_asked_for_instead(self) -> None:
        ecu = run(self.ERASE % "results", {"31 01 FF 00": ["71 01 FF 00 01"], "31 03 FF 00": ["71 03 FF 00 02"]})
        assert sent(ecu) == ["31 01 FF 00 82 F0 5A", "31 03 FF 00"]

    def test_a_status_that_means_failure_ends_by_its_meaning(self) -> None:
        text = failure(self.ERASE % "start", {"31 01 FF 00": ["71 01 FF 00 03"]}, EcuRefused)
        assert "status 03: the flash cannot be erased" in text
        assert "status 07: neither done nor in progress" in failure(
            self.ERASE % "start", {"31 01 FF 00": ["71 01 FF 00 07"]}, EcuRefused
        )

    def test_in_progress_for_ever_ends_by_name(self) -> None:
        steps = "[{routine: 0xFF00, status: {done: 0, in_progress: 1}, poll: {every_s: 0.1, limit_s: 0}}]"
        assert "still in progress after 0 s" in failure(steps, {"31": ["71 01 FF 00 01"]}, EcuRefused)

    def test_a_routine_without_the_status_that_the_profile_judges_contradicts(self) -> None:
        assert "answered 71 01 FF 00, without a status" in failure(
            "[{routine: 0xFF00, status: {done: 0}}]", {"31": ["71 01 FF 00"]}, EcuContradicts
        )

    def test_without_a_status_any_positive_answer_means_done(self) -> None:
        run("[{routine: 0xFF00}]", {"31": ["71 01 FF 00"]})
        run("[{routine: 0xFF00}]", {"31": ["71 01 FF 00 01"]})


class TestRefusalsAndSilence:
    """What ends a sequence, what is tried again, and what is passed over."""

    def test_a_refusal_ends_the_sequence_and_is_explained_by_the_profile(self) -> None:
        steps = '[{request: "31 01 FF 00", nrc: {0x36: {means: "the limit of attempts is reached"}}}, {wait: 1}]'
        text = failure(steps, {"31": ["7F 31 36"]}, EcuRefused)
        assert text.startswith("engine: 31 01 FF 00: NRC 36")
        assert text.endswith("(the limit of attempts is reached)")

    def test_a_refusal_that_means_done_is_passed_over(self) -> None:
        ecu = run('[{session: 3, nrc: {0x12: {then: skip, means: "the bootloader has none"}}}]', {"10": ["7F 10 12"]})
        event, data = ecu.events[0]
        assert (event, data["nrc"], data["reason"]) == ("flash.step_skipped", 0x12, "the bootloader has none")

    def test_a_refusal_that_may_pass_is_tried_again_within_its_attempts(self) -> None:
        steps = "[{unlock: 1, attempts: 3, pause_s: 5, nrc: {0x37: {then: repeat}}}]"
        ecu = run(steps, {"27 01": ["7F 27 37", "7F 27 37", "67 01 55"]})
        assert sent(ecu) == ["27 01", "27 01", "27 01", "27 02 54"]
        assert ecu.waited_s == [5, 5]
        failure(steps, {"27 01": ["7F 27 37"]}, EcuRefused)

    def test_a_refusal_is_not_tried_again_by_itself(self) -> None:
        ecu = ScriptedEcu({"27 01": ["7F 27 35"]})
        with pytest.raises(EcuRefused):
            run_on(ecu, "[{unlock: 1, attempts: 5}]")
        assert len(ecu.sent) == 1

    def test_silence_is_tried_again_within_its_attempts(self) -> None:
        assert len(run("[{session: 3, attempts: 3}]", {"10": ["", "", "50 03"]}).sent) == 3
        failure("[{session: 3, attempts: 2}]", {"10": [""]}, EcuLost)

    def test_an_optional_step_ends_nothing(self) -> None:
        ecu = run("[{read_did: 0xF190, optional: true}, {tester_present: true}]", {"22": ["7F 22 31"]})
        assert sent(ecu)[-1] == "3E 00"
        run("[{read_did: 0xF190, optional: true}]", {"22": [""]})

    def test_an_answer_that_does_not_fit_is_named_with_what_was_expected(self) -> None:
        text = failure('[{read_did: 0xF191, expect: "41 42 *"}]', {"22": ["62 F1 91 41 43"]}, EcuContradicts)
        assert "byte 1 is 43, where 41 42 * is expected" in text

    def test_a_bootloader_that_comes_late_is_waited_for(self) -> None:
        ecu = run("[{await_answer: 5, every_s: 0.1}]", {"3E": ["", "", "7F 3E 11"]})
        assert len(ecu.sent) == 3
        failure("[{await_answer: 0}]", {"3E": [""]}, EcuLost)

    @pytest.mark.parametrize(("answer", "ends"), [("may_be_lost", False), ("required", True), ("late", True)])
    def test_a_reset_whose_answer_is_lost(self, answer: str, ends: bool) -> None:
        steps = f"[{{reset: 1, answer: {answer}, limit_s: 10}}]"
        if ends:
            failure(steps, {"11": [""]}, EcuLost)
        else:
            assert run(steps, {"11": [""]}).resets == 1

    def test_a_late_answer_to_a_reset_is_waited_for_as_long_as_the_step(self) -> None:
        assert run("[{reset: 1, answer: late, limit_s: 10}]").exchanges[0].p2_s == 10


class TestDownloads:
    """34, 36 and 37."""

    ALL = "[{for_each: block, do: [{download: block}]}]"

    def test_each_block_has_a_download_of_its_own_in_pieces_of_the_ecu_s_length(self) -> None:
        ecu = run(self.ALL)  # 74 20 00 22: 32 data bytes behind service identifier and counter
        assert [each[:2].hex() for each in ecu.sent] == ["3400", "3601", "37", "3400", "3601", "3602", "3603", "37"]
        assert sent(ecu)[3] == "34 00 44 08 00 00 00 00 00 00 46"
        assert b"".join(each[2:] for each in ecu.sent[4:7]) == APP.data
        transfers = [data for event, data in ecu.events if event == "flash.block"]
        assert [(each["kind"], each["bytes"], each["block_bytes"]) for each in transfers] == [
            ("driver", 6, 32),
            ("application", 70, 32),
        ]

    @pytest.mark.parametrize(
        ("length", "answer", "data_bytes"),
        [
            ("{}", "74 20 00 12", 16),
            ("{includes_header: false}", "74 20 00 12", 18),
            ("{multiple_of: 8}", "74 10 1F", 24),
            ("{max_bytes: 10}", "74 20 0F FF", 8),
            ("{source: fixed, max_bytes: 10}", "74 10 00", 8),
            ("{source: fixed, max_bytes: 10}", "74", 8),
        ],
    )
    def test_the_length_of_a_block_is_the_ecu_s_or_the_profile_s(
        self, length: str, answer: str, data_bytes: int
    ) -> None:
        ecu = run(
            f"[{{for_each: block, kind: application, do: [{{download: block, length: {length}}}]}}]", {"34": [answer]}
        )
        assert len(ecu.sent[1]) == 2 + data_bytes

    @pytest.mark.parametrize("answer", ["74", "74 20 00", "74 10 02", "74 00"])
    def test_an_answer_to_34_without_a_usable_length_contradicts(self, answer: str) -> None:
        assert "maxNumberOfBlockLength is missing or too small" in failure(self.ALL, {"34": [answer]}, EcuContradicts)

    def test_the_counter_wraps_from_ff_to_00(self) -> None:
        block = Block(0, bytes(300))
        ecu = run(
            "[{for_each: block, do: [{download: block, length: {source: fixed, max_bytes: 3}, first_counter: 0xFE}]}]",
            material=Material((block,)),
        )
        assert [each[1] for each in ecu.sent[1:5]] == [0xFE, 0xFF, 0x00, 0x01]
        assert len(ecu.sent) == 302

    def test_a_block_whose_answer_is_lost_is_sent_again_with_the_same_counter(self) -> None:
        ecu = run(self.ALL, {"36 02": ["", "76 02"]})
        assert [each[1] for each in ecu.sent if each[0] == 0x36] == [1, 1, 2, 2, 3]
        failure("[{for_each: block, do: [{download: block, repeats: 1}]}]", {"36 01": [""]}, EcuLost)

    def test_a_refusal_in_a_transfer_ends_it_at_once(self) -> None:
        ecu = ScriptedEcu({"36 02": ["7F 36 72"]})
        with pytest.raises(EcuRefused, match="36 02 transfer data: NRC 72"):
            run_on(ecu, self.ALL)
        assert ecu.sent[-1][:2] == b"\x36\x02"

    def test_a_positive_answer_that_means_failure_is_a_refusal(self) -> None:
        steps = """
        - for_each: block
          kind: application
          do:
            - download: block
              accepted: "76 {counter:1} 02"
              failures: [{answer: "76 {counter:1} 0A", means: the checksum of the line is wrong}]
        """
        text = failure(steps, {"36 01": ["76 01 0A"]}, EcuRefused)
        assert "36 01 transfer data: answered 76 01 0A: the checksum of the line is wrong" in text
        failure(steps, {"36 01": ["76 01 07"]}, EcuContradicts)

    def test_records_are_sent_one_by_one_with_their_own_address_and_checksum(self) -> None:
        steps = """
        - for_each: block
          kind: application
          do:
            - download: block
              length: {source: fixed}
              records: true
              transfer: "36 {counter:1} {record_address:2:low} {data} {data_length:1} {crc}"
        """
        ecu = run(steps, values={"crc": {"checksum": "CRC-16/X-25", "over": "message"}})
        assert [each[:7].hex(" ") for each in ecu.sent[1:3]] == ["36 01 00 00 61 62 02", "36 02 00 02 63 64 02"]
        bare = Material((Block(0, b"x"),))
        assert "the program has no records, which are the lines of an S-record file" in failure(
            steps,
            {},
            ProfileInvalid,
            material=bare,
            values={"crc": {"checksum": "X-25"}},
        )

    def test_the_answer_to_37_is_compared_with_the_block_s_own_checksum(self) -> None:
        steps = "[{for_each: block, kind: driver, do: [{download: block, exit_answer: '77 {crc}'}]}]"
        values = {"crc": {"checksum": "CRC-16/CCITT-FALSE"}}
        crc = crc_over("CRC-16/CCITT-FALSE", [DRIVER.data]).to_bytes(2, "big").hex()
        run(steps, {"37": [f"77 {crc}"]}, values=values)
        text = failure(steps, {"37": ["77 00 00"]}, EcuContradicts, values=values)
        assert "37 transfer exit: answered 77 00 00" in text

    def test_steps_between_34_and_the_first_36(self) -> None:
        steps = "[{for_each: block, kind: driver, do: [{download: block, before_data: [{write_did: 0xF15A, data: '55'}], exit: null}]}]"
        assert [each[0] for each in run(steps).sent] == [0x34, 0x2E, 0x36]

    def test_areas_to_erase_are_a_loop_of_their_own(self) -> None:
        steps = "[{for_each: erase_area, do: [{routine: 0xFF00, option: '{address:4} {length:4}'}]}]"
        assert sent(run(steps)) == ["31 01 FF 00 08 00 00 00 00 00 10 00", "31 01 FF 00 08 01 00 00 00 00 08 00"]
        own = Material((APP,))
        assert sent(run(steps, material=own)) == ["31 01 FF 00 08 00 00 00 00 00 00 46"]


def test_what_was_read_is_sent_later() -> None:
    steps = """
        - {read_did: 0xF181, save: ident}
        - {request: "22 F1 00", save: tail, save_from: 3}
        - {write_did: 0xF100, data: "{ident} {tail}"}
        """
    assert sent(run(steps, {"22 F1 81": ["62 F1 81 AB CD"], "22 F1 00": ["62 F1 00 EF"]}))[-1] == "2E F1 00 AB CD EF"


def test_a_burst_is_functional_and_waits_for_nothing() -> None:
    assert sent(run('[{burst: "10 02", every_s: 0.005, for_s: 0.05}]')) == ["10 02"] * 11


def test_steps_are_repeated() -> None:
    assert sent(run('[{repeat: 3, do: [{request: "11 81"}]}]')) == ["11 81"] * 3


def test_a_template_that_cannot_be_filled_names_the_step_and_the_remedy() -> None:
    text = failure("[{for_each: block, do: [{request: '31 {address:1}', title: erase}]}]", {}, ProfileInvalid)
    assert "engine: erase: address is 0x20000000, which does not fit into 1 bytes: correct the flash profile" in text
