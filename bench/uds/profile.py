"""The flash profile: order of steps, identifiers, sizes and times of one kind of ECU, as data.

    profile = load("iso14229-ab")        # a shipped one
    profile = load("./mine.yaml")        # a file

Rules:

* Unknown keys are errors: a misspelt optional key would otherwise silently have no effect.
* A profile holds the order and the parameters of the steps. Their code is in ``gateway.flashing.steps``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from otabench.bench import model_words, yaml_text
from otabench.bench.finding import Finding, fail
from otabench.bench.uds.errors import ProfileMistakes
from otabench.bench.yaml_text import Document, Place, YamlMistake
from otabench.proto.process_config import MAX_TIME_S

_Byte = Annotated[int, Field(ge=0, le=0xFF)]
_Word = Annotated[int, Field(ge=0, le=0xFFFF)]
_Seconds = Annotated[float, Field(ge=0, le=MAX_TIME_S)]


class Step(StrEnum):
    """One step of a sequence."""

    EXTENDED_SESSION = "extended_session"
    CHECK_PRECONDITIONS = "check_preconditions"
    DTC_SETTING_OFF = "dtc_setting_off"
    COMMUNICATION_OFF = "communication_off"
    PROGRAMMING_SESSION = "programming_session"
    UNLOCK = "unlock"
    WRITE_FINGERPRINT = "write_fingerprint"
    DOWNLOAD_METADATA = "download_metadata"
    ERASE = "erase"
    DOWNLOAD_IMAGE = "download_image"
    CHECK_MEMORY = "check_memory"
    COMMUNICATION_ON = "communication_on"
    DTC_SETTING_ON = "dtc_setting_on"
    DEFAULT_SESSION = "default_session"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Sequence(_Model):
    """Steps in order.

    ``pre_programming`` and ``post_programming`` run for all ECUs of a bus together, ``programming`` for one ECU after the other.
    """

    pre_programming: tuple[Step, ...]
    programming: tuple[Step, ...]
    post_programming: tuple[Step, ...]

    @model_validator(mode="after")
    def _downloads_after_erase(self) -> Sequence:
        steps = list(self.programming)
        if Step.DOWNLOAD_IMAGE not in steps:
            raise ValueError("programming: download_image is missing")
        # NOR flash can only be programmed after an erase. A profile without an erase step is for an ECU that erases by itself (34).
        if Step.ERASE in steps and steps.index(Step.ERASE) > steps.index(Step.DOWNLOAD_IMAGE):
            raise ValueError("programming: erase comes after download_image; put it before")
        return self


class Sessions(_Model):
    default: _Byte
    programming: _Byte
    extended: _Byte


class Security(_Model):
    request_seed: _Byte
    send_key: _Byte
    max_delay_s: _Seconds
    for_slot_routines: bool = False
    """True: unlock in the extended session before 0211 and 0212. False: unlock only when the ECU refuses (NRC 33)."""


class Identifiers(_Model):
    serial: _Word
    hardware_id: _Word
    software_version: _Word
    boot_software_id: _Word | None = None
    rxswin: _Word | None = None
    slot_table: _Word
    time_nonce: _Word | None = None
    root_version: _Word | None = None
    fingerprint: _Word
    active_session: _Word | None = None


class Routines(_Model):
    check_preconditions: _Word | None = None
    erase: _Word | None = None
    check_memory: _Word | None = None
    check_dependencies: _Word | None = None
    activate: _Word
    confirm: _Word
    revert: _Word
    version_report: _Word | None = None


class Fingerprint(_Model):
    tester_serial: str = Field(pattern=r"^[ -~]{1,32}$")


class Window(_Model):
    """A range of the ECU's memory that 34 may address."""

    # 34 has at most 15 bytes for either (ISO 14229-1); eight are more than any ECU addresses.
    address: int = Field(ge=0, lt=2**64)
    size_bytes: int = Field(ge=1, lt=2**64)


class Memory(_Model):
    address_bytes: int = Field(ge=1, le=8)
    length_bytes: int = Field(ge=1, le=8)
    image: Window
    metadata: Window
    erase_sector_bytes: int = Field(ge=1, lt=2**32)

    @property
    def format_identifier(self) -> int:
        """Return the addressAndLengthFormatIdentifier (ISO 14229-1): length in the high nibble, address in the low one."""
        return self.length_bytes << 4 | self.address_bytes


class DataFormat(_Model):
    full: _Byte
    patch: _Byte
    encrypted_full: _Byte | None = None
    encrypted_patch: _Byte | None = None
    """None, for either of the two: this kind of ECU does not accept encrypted data."""

    def of(self, *, is_patch: bool, is_encrypted: bool) -> int | None:
        """Return the dataFormatIdentifier of RequestDownload (34), or None if this kind of ECU does not accept such data."""
        if is_encrypted:
            return self.encrypted_patch if is_patch else self.encrypted_full
        return self.patch if is_patch else self.full


class TransferLimits(_Model):
    # An ISO-TP message with a 12-bit length carries 4095 bytes. A block has service identifier, counter and at least one byte of data.
    max_block_bytes: int = Field(ge=3, le=4095)
    block_repeats: int = Field(ge=0, le=10)


class Reentry(_Model):
    """How often, and for how long, a step outside a transfer is repeated after a lost session or message."""

    attempts: int = Field(default=3, ge=0, le=10)
    max_duration_s: _Seconds = 10.0


class Soak(_Model):
    """How long all trial images run and answer before the first is confirmed."""

    time_s: _Seconds = 2.0
    poll_s: float = Field(default=0.25, gt=0, le=MAX_TIME_S)
    trial_limit_s: float | None = Field(default=60.0, gt=0, le=MAX_TIME_S)
    """The time after which an ECU gives up a trial that is not confirmed. None: the ECU never gives it up."""

    def require_fits(self, time_s: float) -> None:
        """Raise ValueError if a soak of ``time_s`` would outlast the trial."""
        if self.trial_limit_s is not None and time_s >= self.trial_limit_s:
            raise ValueError(
                f"a soak of {time_s:g} s outlasts the trial, which the ECU gives up after {self.trial_limit_s:g} s "
                "(trial_limit_s): shorten the soak, or give the ECU longer"
            )

    @model_validator(mode="after")
    def _fits(self) -> Soak:
        self.require_fits(self.time_s)
        return self


class Communication(_Model):
    type: _Byte
    disable: _Byte
    enable: _Byte


class DtcSetting(_Model):
    enable: _Byte
    disable: _Byte


class Reset(_Model):
    type: _Byte


class Timing(_Model):
    p2_s: _Seconds
    p2_star_s: _Seconds
    p2_margin_s: _Seconds
    max_pending_s: _Seconds
    # S3 is 5 s (ISO 14229-2); a longer period would let sessions end between two TesterPresent.
    tester_present_s: float = Field(gt=0, le=4.5)
    request_repeats: int = Field(default=2, ge=0, le=10)
    busy_repeats: int = Field(ge=0, le=1000)
    busy_pause_s: _Seconds
    poll_p2_s: float = Field(gt=0, le=MAX_TIME_S)
    poll_pause_s: _Seconds


class Profile(_Model):
    """The sequence, identifiers, sizes and times of one kind of ECU."""

    name: str
    sequence: Sequence
    sessions: Sessions
    security: Security
    identifiers: Identifiers
    routines: Routines
    fingerprint: Fingerprint
    memory: Memory
    data_format: DataFormat
    transfer: TransferLimits
    reentry: Reentry = Reentry()
    soak: Soak = Soak()
    communication: Communication
    dtc_setting: DtcSetting
    reset: Reset
    timing: Timing


def shipped() -> list[str]:
    """Return the names of the profiles that are part of the package."""
    folder = resources.files("otabench.bench.uds.profiles")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


@cache
def load(name: str) -> Profile:
    """Return a profile. Read it once per process.

    Args:
        name: the name of a shipped profile; or a path, if it contains ``/`` or ends in ``.yaml``.

    Raises:
        ProfileMistakes: the profile does not exist, cannot be read, or has mistakes; with all of them.
    """
    try:
        if "/" in name or name.endswith(".yaml"):
            text = yaml_text.load_text(Path(name))
        else:
            text = (resources.files("otabench.bench.uds.profiles") / f"{name}.yaml").read_text(encoding="utf-8")
        document = yaml_text.parse(text)
    except OSError as error:
        raise ProfileMistakes(name, [fail("", f"cannot be read ({error.strerror})", "check the path")]) from error
    except YamlMistake as error:
        place = f"line {error.line}, column {error.column}" if error.line else ""
        raise ProfileMistakes(name, [fail(place, f"not YAML: {error.problem}", error.remedy)]) from error
    try:
        return Profile.model_validate(document.content)
    except ValidationError as error:
        details = model_words.without_echoes(error.errors(), _known_keys)
        raise ProfileMistakes(name, [_finding(document, each) for each in details]) from error


def _finding(document: Document, detail: Mapping[str, Any]) -> Finding:
    """Return a mistake with its line and its key."""
    place: Place = detail["loc"]
    known = _known_keys(place[:-1]) if detail["type"] == "extra_forbidden" else ()
    problem, remedy = model_words.words(detail, written=document.written.get(place), known=known)
    while place and place not in document.lines:  # a missing key has the line of its section
        place = place[:-1]
    where = ".".join(map(str, detail["loc"]))
    return fail(f"line {document.lines.get(place, 1)}{', ' if where else ''}{where}", problem, remedy)


def _known_keys(path: Iterable[int | str]) -> list[str]:
    """Return the keys that a profile may have in the section at ``path``."""
    model: type[BaseModel] = Profile
    for key in path:
        section = model.model_fields[str(key)].annotation
        assert isinstance(section, type) and issubclass(section, BaseModel)
        model = section
    return list(model.model_fields)
