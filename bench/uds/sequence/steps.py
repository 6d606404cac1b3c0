"""The entries of a sequence. Each has one key that names its kind, and further keys with the details.

    - session: 0x02
      expect: "50 02 *"
    - unlock: 0x11
    - routine: 0xFF00                       # erase
      option: "01 {block_id:1}"
      status: {done: 0x02, in_progress: 0x01, failed: {0x03: "the flash cannot be erased"}}
      poll: {ask: start, every_s: 0.5, limit_s: 30}
    - for_each: block
      kind: application
      do:
        - download: block
        - routine: 0x0202
          option: "{block_crc}"

This module has what may be written, and the checks that need no ECU. ``runner`` carries the steps out.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from otabench.bench.uds.sequence.material import BlockKind
from otabench.bench.uds.sequence.template import Pattern, PatternText, Template, TemplateText

CHALLENGE: Final = "challenge"
"""The name under which templates use the challenge of the last authentication (29)."""
Byte = Annotated[int, Field(ge=0, le=0xFF)]
Word = Annotated[int, Field(ge=0, le=0xFFFF)]
CanId = Annotated[int, Field(ge=0, le=0x1FFF_FFFF)]
Seconds = Annotated[float, Field(ge=0, le=86_400)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Target(StrEnum):
    """Who is addressed."""

    ECU = "ecu"
    """This ECU, by its own identifier (physical)."""
    ALL = "all"
    """All ECUs of the bus (functional)."""


class OnRefusal(StrEnum):
    """What a negative response to this step leads to."""

    FAIL = "fail"
    SKIP = "skip"
    """The step counts as done."""
    REPEAT = "repeat"
    """The step is tried again, within ``attempts``."""


class Refusal(_Model):
    """What one negative response code means here."""

    means: str = ""
    then: OnRefusal = OnRefusal.FAIL


class Common(_Model):
    """Keys of every step that sends something.

    Attributes:
        title: its name in errors and trace; made of the request by default.
        to: who is addressed.
        suppress: set suppressPosRspMsgIndicationBit and expect no answer.
        optional: a refusal or silence does not end the sequence.
        attempts: how often it is tried after silence, or after a refusal with ``then: repeat``.
        pause_s: before each further attempt.
        p2_s, p2_star_s: instead of the profile's times, for this step.
        limit_s: for the step as a whole, 78 included; None: the profile's ``max_pending_s``.
        nrc: what negative response codes mean here.
    """

    title: str = ""
    to: Target = Target.ECU
    suppress: bool = False
    optional: bool = False
    attempts: int = Field(default=1, ge=1, le=1000)
    pause_s: Seconds = 0.0
    p2_s: Seconds | None = None
    p2_star_s: Seconds | None = None
    limit_s: Seconds | None = None
    nrc: dict[Byte, Refusal] = Field(default_factory=dict)


class Failure(_Model):
    """A positive response that means failure, e.g. ``76 {counter:1} 0A``."""

    answer: PatternText
    means: str


class Request(Common):
    """Any request, with what it is answered.

    Attributes:
        expect: what the answer must look like; None: any positive one.
        failures: positive answers that mean failure. Some bootloaders report errors in the body of a positive response.
        save: the name of a value that gets the answer's bytes from ``save_from`` on.
        request_id: send it with this identifier instead of the ECU's own, for example an OBD request that opens the way to programming.
        response_id: the identifier of its answer; None: the ECU's own.
    """

    request: TemplateText
    expect: PatternText | None = None
    failures: tuple[Failure, ...] = ()
    save: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")
    save_from: int = Field(default=0, ge=0, le=4095)
    request_id: CanId | None = None
    response_id: CanId | None = None

    @model_validator(mode="after")
    def _has_one_receiver(self) -> Request:
        if self.request_id is not None and self.to is Target.ALL:
            raise ValueError("request_id and `to: all` are both given: keep one")
        if self.response_id is not None and self.request_id is None:
            raise ValueError("response_id needs request_id, the identifier of the request")
        return self


class Session(Common):
    """DiagnosticSessionControl (10).

    Attributes:
        session: the sub-function.
        timing: whether P2 and P2* of its answer are used from then on.
        expect: what the answer must look like; None: any positive one.
        answers_after_reset: the ECU restarts into its bootloader before it answers, or does not answer at all.
        deaf_s: how long the ECU cannot answer after that restart.
    """

    session: Byte
    timing: bool = True
    expect: PatternText | None = None
    answers_after_reset: bool = False
    deaf_s: Seconds = 0.0


class Unlock(Common):
    """SecurityAccess (27): request the seed of a level, send its key.

    Attributes:
        unlock: the level, requestSeed's sub-function.
        send_key: sendKey's sub-function; None: the next one.
        record: securityAccessDataRecord behind requestSeed's sub-function.
        choose_by: the name of a value that selects secret and algorithm among ``security.choices`` of the bench file. Empty: there is one.
    """

    unlock: Byte
    send_key: Byte | None = None
    record: TemplateText = Template("", ())
    choose_by: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")


class Authenticate(Common):
    """Authentication (29) by certificate: the ECU verifies the tester's, and that the tester has its key.

    Attributes:
        authenticate: in one direction only (29 01, 29 03).
        communication: communicationConfiguration.
        signed: the bytes that the proof signs. ``{challenge}`` is the ECU's challenge.
    """

    authenticate: Literal["unidirectional"]
    communication: Byte = 0
    signed: TemplateText = Template.parse("{challenge}")


class Status(_Model):
    """The meaning of a routine's status byte. ``at``: its place behind the routine's identifier."""

    done: Byte | tuple[Byte, ...] = 0
    in_progress: Byte | tuple[Byte, ...] = ()
    failed: dict[Byte, str] = Field(default_factory=dict)
    at: int = Field(default=0, ge=0, le=255)

    @property
    def done_values(self) -> tuple[int, ...]:
        return self.done if isinstance(self.done, tuple) else (self.done,)

    @property
    def in_progress_values(self) -> tuple[int, ...]:
        return self.in_progress if isinstance(self.in_progress, tuple) else (self.in_progress,)


class Poll(_Model):
    """How a routine in progress is asked again: by the same request (``start``) or by requestRoutineResults."""

    ask: Literal["start", "results"] = "results"
    every_s: float = Field(default=0.5, gt=0, le=60)
    limit_s: Seconds = 60.0


class Routine(Common):
    """RoutineControl (31)."""

    routine: Word
    act: Literal["start", "stop", "results"] = "start"
    option: TemplateText = Template("", ())
    status: Status | None = None
    """None: any positive answer means done."""
    expect: PatternText | None = None
    poll: Poll = Poll()


class WriteDid(Common):
    """WriteDataByIdentifier (2E)."""

    write_did: Word
    data: TemplateText


class ReadDid(Common):
    """ReadDataByIdentifier (22). ``expect``: of the record, without 62 and the identifier; ``save``: as in ``Request``."""

    read_did: Word
    expect: PatternText | None = None
    save: str = Field(default="", pattern=r"^([a-z][a-z0-9_]*)?$")


class TesterPresent(Common):
    """TesterPresent (3E) as a step of its own."""

    tester_present: Literal[True]


class AwaitAnswer(_Model):
    """Send TesterPresent until the ECU answers anything: after a reset, or to catch a bootloader at its start."""

    await_answer: Seconds
    every_s: float = Field(default=0.1, gt=0, le=60)
    request: TemplateText = Template.parse("3E 00")


class Wait(_Model):
    """Wait for a time without a request of the sequence."""

    wait: Seconds


class Burst(_Model):
    """Send a functional request again and again without waiting for answers, to silence or catch ECUs that are starting."""

    burst: TemplateText
    every_s: float = Field(gt=0, le=60)
    for_s: Seconds


class Reset(Common):
    """ECUReset (11).

    Attributes:
        reset: the kind.
        answer: ``required``; ``may_be_lost``: silence is not an error, because many ECUs reset before they answer; ``late``: it comes from
            the software that starts, within ``limit_s``.
        deaf_s: how long the ECU cannot answer afterwards.
    """

    reset: Byte
    answer: Literal["required", "may_be_lost", "late"] = "may_be_lost"
    deaf_s: Seconds = 0.0


class BlockLength(_Model):
    """How long a TransferData (36) may be.

    Attributes:
        source: ``answer``: maxNumberOfBlockLength of the answer to 34; ``fixed``: ``max_bytes``, whatever the ECU answers.
        max_bytes: the upper limit, including service identifier and counter.
        multiple_of: the number of data bytes is rounded down to a multiple.
        includes_header: whether the ECU's number counts service identifier and counter, as ISO 14229-1 has it.
    """

    source: Literal["answer", "fixed"] = "answer"
    # 4095: the 12-bit length of ISO 15765-2. 3: one byte of data.
    max_bytes: int = Field(default=4095, ge=3, le=4095)
    multiple_of: int = Field(default=1, ge=1, le=4096)
    includes_header: bool = True


_TRANSFER: Final = "36 {counter:1} {data}"


class Download(Common):
    """RequestDownload (34), TransferData (36) until all of it was sent, RequestTransferExit (37).

    Attributes:
        download: what is sent: the block of the loop.
        request: the 34.
        length: how long each 36 may be.
        transfer: the 36; with ``records``, one for each record.
        accepted: the answer to 36.
        failures: positive answers to 36 that mean failure.
        first_counter: blockSequenceCounter of the first 36; FF is followed by 00.
        records: send the records of the file, one in each 36, instead of pieces of its bytes.
        before_data: steps between 34 and the first 36.
        exit: the 37; None: it is not sent.
        exit_answer: the answer to 37.
        repeats: how often one 36 is sent again with the same counter after silence.
        transfer_p2_s: P2 of 36 and 37, if the ECU writes before it answers.
    """

    download: Literal["block"]
    request: TemplateText = Template.parse("34 {data_format:1} 44 {address:4} {memory_length:4}")
    length: BlockLength = BlockLength()
    transfer: TemplateText = Template.parse(_TRANSFER)
    accepted: PatternText = Pattern.parse("76 {counter:1} *")
    failures: tuple[Failure, ...] = ()
    first_counter: Byte = 1
    records: bool = False
    before_data: tuple[AnyStep, ...] = ()
    exit: TemplateText | None = Template.parse("37")
    # 77 may carry transferResponseParameterRecord, for example a CRC.
    exit_answer: PatternText = Pattern.parse("77 *")
    repeats: int = Field(default=3, ge=0, le=100)
    transfer_p2_s: Seconds | None = None


class ForEach(_Model):
    """A loop over the blocks of the update, or over the areas to erase. Templates inside it use the block's numbers."""

    for_each: Literal["block", "erase_area"]
    kind: BlockKind | None = None
    """Only blocks of this kind."""
    do: tuple[AnyStep, ...] = Field(min_length=1)


class Repeat(_Model):
    """Steps that are carried out several times."""

    repeat: int = Field(ge=1, le=1000)
    do: tuple[AnyStep, ...] = Field(min_length=1)


KINDS: Final[dict[str, type[_Model]]] = {
    "request": Request,
    "session": Session,
    "unlock": Unlock,
    "authenticate": Authenticate,
    "routine": Routine,
    "write_did": WriteDid,
    "read_did": ReadDid,
    "tester_present": TesterPresent,
    "await_answer": AwaitAnswer,
    "wait": Wait,
    "burst": Burst,
    "reset": Reset,
    "download": Download,
    "for_each": ForEach,
    "repeat": Repeat,
}
KIND_NAMES: Final = tuple(KINDS)


def kind_of(step: BaseModel) -> str:
    """Return the key that names a step's kind."""
    return next(name for name, kind in KINDS.items() if isinstance(step, kind))


def _kind_of(given: Any) -> str | None:
    if isinstance(given, BaseModel):
        return kind_of(given)
    # `download` and `await_answer` have a request too: the other key names the kind.
    keys = [name for name in KINDS if isinstance(given, dict) and name in given]
    return next((name for name in keys if name != "request"), keys[0] if keys else None)


AnyStep = Annotated[
    Annotated[Request, Tag("request")]
    | Annotated[Session, Tag("session")]
    | Annotated[Unlock, Tag("unlock")]
    | Annotated[Authenticate, Tag("authenticate")]
    | Annotated[Routine, Tag("routine")]
    | Annotated[WriteDid, Tag("write_did")]
    | Annotated[ReadDid, Tag("read_did")]
    | Annotated[TesterPresent, Tag("tester_present")]
    | Annotated[AwaitAnswer, Tag("await_answer")]
    | Annotated[Wait, Tag("wait")]
    | Annotated[Burst, Tag("burst")]
    | Annotated[Reset, Tag("reset")]
    | Annotated[Download, Tag("download")]
    | Annotated[ForEach, Tag("for_each")]
    | Annotated[Repeat, Tag("repeat")],
    Discriminator(
        _kind_of,
        custom_error_type="step_kind",
        custom_error_message=f"a step has one key that names its kind: {', '.join(KINDS)}",
    ),
]


class Sequence(_Model):
    """Steps in order."""

    steps: tuple[AnyStep, ...]

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, given: Any) -> Any:
        # In the file an act is a plain list.
        return {"steps": given} if isinstance(given, list | tuple) else given


def walk(
    steps: tuple[AnyStep, ...], place: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], AnyStep]]:
    """Return every step with its place, also the steps inside loops and downloads."""
    for number, step in enumerate(steps):
        here = (*place, number)
        yield here, step
        if isinstance(step, ForEach | Repeat):
            yield from walk(step.do, (*here, "do"))
        elif isinstance(step, Download):
            yield from walk(step.before_data, (*here, "before_data"))


# These contain AnyStep, which is defined after them.
for _model in (Download, ForEach, Repeat, Sequence):
    _model.model_rebuild()
