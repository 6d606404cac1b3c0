"""Authentication by certificate (29): what the ECU refuses, by which code, and that the messages are those of the standard."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from udsoncan.Response import Response
from udsoncan.services.Authentication import Authentication as Reference

from otabench.bench.uds import authentication
from otabench.bench.uds.authentication import AuthenticationError, Credentials
from otabench.bench.uds.errors import EcuContradicts, EcuRefused
from otabench.bench.uds.sequence.runner import Runner
from otabench.bench.uds.sequence.scope import RunScope
from otabench.ecu_firmware_sim.personalities.bootloader import Bootloader, Trust
from otabench.ecu_firmware_sim.personalities.memory import new_flash
from otabench.ecu_firmware_sim.personalities.shipped import PERSONALITIES
from tests.personalities import certificates
from tests.personalities.certificates import NOW, der, issued, key
from tests.personalities.direct import DirectTester
from tests.personalities.updates import material, profile_of, program, update

NAME = "certificates"
ERASE = bytes.fromhex("31 01 FF 00 44 08 00 00 00 00 00 10 00")


class Ecu:
    """The bootloader in its programming session, without a tester's connection."""

    def __init__(self, *, trusts: bool = True) -> None:
        trust = Trust(certificates.root() if trusts else None, now=lambda: NOW)
        flash = new_flash(program("1.0.0"))
        self.bootloader = Bootloader(PERSONALITIES[NAME], flash, random_bytes=random.Random(1).randbytes, trust=trust)
        self.ask(b"\x10\x02")

    def ask(self, request: bytes) -> bytes:
        return self.bootloader.handle(request).responses[-1]

    def authenticate(self, who: Credentials) -> bytes:
        challenge = authentication.challenge_of(self.ask(authentication.verify_certificate(who.certificate)))
        return self.ask(authentication.proof_of_ownership(who.sign(challenge)))


def test_without_authentication_nothing_is_erased_or_written() -> None:
    ecu = Ecu()
    assert ecu.ask(ERASE).hex() == "7f3134"
    assert ecu.ask(bytes.fromhex("34 00 44 08 00 00 00 00 00 10 00")).hex() == "7f3434"


@pytest.mark.parametrize("curve", [False, True], ids=["Ed25519", "ECDSA"])
def test_a_tester_with_a_certificate_and_its_key_is_let_in_until_it_leaves(curve: bool) -> None:
    ecu = Ecu()
    assert ecu.authenticate(certificates.tester(curve=curve)).hex() == "6903120000"
    assert ecu.ask(ERASE)[:1] == b"\x71"
    assert ecu.ask(b"\x29\x00").hex() == "690010"
    assert ecu.ask(ERASE).hex() == "7f3134"


@pytest.mark.parametrize("leave", [Bootloader.boot, Bootloader.forget_session], ids=["reset", "S3"])
def test_a_reset_and_s3_end_what_was_granted(leave: Callable[[Bootloader], Any]) -> None:
    ecu = Ecu()
    ecu.authenticate(certificates.tester())
    leave(ecu.bootloader)
    ecu.ask(b"\x10\x02")
    assert ecu.ask(ERASE).hex() == "7f3134"


OTHER = {"public": key("other").public_key()}


@pytest.mark.parametrize(
    ("certificate", "nrc"),
    [
        (lambda: der(issued(from_=NOW - timedelta(11))), 0x50),
        (lambda: der(issued(from_=NOW + timedelta(1))), 0x50),
        (lambda: der(issued(signed_by=key("other"))), 0x51),
        (lambda: der(issued())[:-1] + bytes((der(issued())[-1] ^ 1,)), 0x51),
        (lambda: der(issued(issuer="another root", signed_by=key("other"))), 0x52),
        (lambda: der(issued(ca=True)), 0x53),
        (lambda: b"no certificate", 0x54),
        (lambda: der(issued())[:-20], 0x54),
    ],
    ids=["expired", "not yet", "signed by another", "one bit", "another root", "an authority", "text", "cut"],
)
def test_a_wrong_certificate_is_refused_by_its_own_code(certificate: Callable[[], bytes], nrc: int) -> None:
    ecu = Ecu()
    assert ecu.ask(authentication.verify_certificate(certificate())) == bytes((0x7F, 0x29, nrc))
    assert ecu.ask(authentication.proof_of_ownership(b"any")).hex() == "7f2924", "there is no challenge to prove"


def test_an_ecu_without_a_root_trusts_nobody() -> None:
    assert Ecu(trusts=False).ask(authentication.verify_certificate(der(issued()))).hex() == "7f2952"


def test_a_stolen_certificate_without_its_key_is_refused_and_the_challenge_is_gone() -> None:
    ecu, thief = Ecu(), replace(certificates.tester(), _key=key("thief"))
    assert ecu.authenticate(thief).hex() == "7f2958"
    assert ecu.ask(authentication.proof_of_ownership(b"again")).hex() == "7f2924"
    assert ecu.ask(ERASE).hex() == "7f3134"


def test_a_recorded_proof_does_not_fit_the_next_challenge() -> None:
    ecu, tester = Ecu(), certificates.tester()
    challenge = authentication.challenge_of(ecu.ask(authentication.verify_certificate(tester.certificate)))
    proof = authentication.proof_of_ownership(tester.sign(challenge))
    assert ecu.ask(proof)[:1] == b"\x69"
    ecu.bootloader.forget_session()
    ecu.ask(b"\x10\x02")
    ecu.ask(authentication.verify_certificate(tester.certificate))
    assert ecu.ask(proof).hex() == "7f2958"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("29", "7f2913"),
        ("29 00 00", "7f2913"),
        ("29 01", "7f2913"),
        ("29 01 00 00 00 00 00", "7f2913"),
        ("29 01 00 00 09 30", "7f2913"),
        ("29 01 00 00 01 30 00 00 00", "7f2913"),
        ("29 03 FF FF", "7f2913"),
        ("29 02", "7f2912"),
        ("29 05 00", "7f2912"),
        ("29 08", "690802"),
        ("29 00", "690010"),
    ],
)
def test_other_tasks_and_wrong_lengths(request_: str, answer: str) -> None:
    assert Ecu().ask(bytes.fromhex(request_)).hex() == answer


def test_requests_and_responses_are_those_of_another_implementation() -> None:
    ecu, who = Ecu(), certificates.tester()
    ours = authentication.verify_certificate(who.certificate, communication=5)
    theirs = Reference.make_request(
        1, communication_configuration=5, certificate_client=who.certificate, challenge_client=b""
    )
    assert ours == theirs.get_payload()
    answer = ecu.ask(ours)
    read = Reference.interpret_response(Response.from_payload(answer)).service_data
    assert (read.return_value, read.challenge_server) == (0x11, authentication.challenge_of(answer))
    proof = who.sign(authentication.challenge_of(answer))
    ours = authentication.proof_of_ownership(proof)
    theirs = Reference.make_request(3, proof_of_ownership_client=proof, ephemeral_public_key_client=b"")
    assert ours == theirs.get_payload()
    read = Reference.interpret_response(Response.from_payload(ecu.ask(ours))).service_data
    assert (read.return_value, read.session_key_info) == (0x12, b"")


def test_a_tester_that_leaves_authentication_out_is_told_what_is_missing() -> None:
    profile, tester = profile_of(NAME), DirectTester(PERSONALITIES[NAME], new_flash(program("1.0.0")))
    steps = tuple(each for each in profile.sequences.programming.steps if "authenticate" not in type(each).model_fields)
    acts = profile.sequences.model_copy(
        update={"programming": profile.sequences.programming.model_copy(update={"steps": steps})}
    )
    with pytest.raises(
        EcuRefused, match=r"34 authenticationRequired.*the profile authenticates too late, or not at all"
    ):
        update(tester, profile.model_copy(update={"sequences": acts}), material(NAME, "2.0.0"))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("690100", "reported 00 where 11 .ownership to be proved. was expected"),
        ("6901", "reported nothing"),
        ("69011100200102", "contains no complete challenge"),
        ("6901110000", "contains no complete challenge"),
    ],
)
def test_an_answer_that_is_no_challenge_ends_by_name(answer: str, text: str) -> None:
    profile, tester = profile_of(NAME), DirectTester(PERSONALITIES[NAME], new_flash(program("1.0.0")))
    tester.change = lambda _, given: bytes.fromhex(answer) if given[:2] == b"\x69\x01" else given
    scope = RunScope(material(NAME, "2.0.0"), profile.values, NOW)
    with pytest.raises(EcuContradicts, match=f"29 01 verify certificate.*{text}"):
        Runner(tester, scope, times=profile.times).run(profile.sequences.programming)


def test_files_that_do_not_belong_together_are_refused_by_name(tmp_path: Path) -> None:
    root, certificate, own_key = certificates.write(tmp_path)
    assert Credentials.load(certificate, own_key).sign(b"data")
    for files, problem in (
        ((root, own_key), r"tester\.key\.pem: is not the key of .*root\.pem"),
        ((certificate, certificate), r"tester\.pem: is not a private key in PEM"),
        ((own_key, own_key), r"tester\.key\.pem: is not a certificate in PEM"),
        ((tmp_path / "absent", own_key), "absent: No such file or directory; check the path"),
    ):
        with pytest.raises(AuthenticationError, match=problem):
            Credentials.load(*files)
