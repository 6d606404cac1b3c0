"""A flash profile whose sequences are data: the values to compute, and the steps of every act.

Reading a profile checks it, without an ECU: every field of every template must exist where it is used, and values must be saved before they
are used. All mistakes are reported at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from otabench.bench import model_words, yaml_text
from otabench.bench.finding import Finding, fail, nearest
from otabench.bench.uds.errors import ProfileMistakes
from otabench.bench.uds.profile import Soak
from otabench.bench.uds.sequence import mistakes
from otabench.bench.uds.sequence.material import Area, BlockKind, Layout
from otabench.bench.uds.sequence.sections import (
    Bootloader,
    Confirming,
    DidText,
    Identity,
    Payload,
    Reverting,
    Slots,
    SlotsKind,
    Success,
    Versions,
)
from otabench.bench.uds.sequence.steps import (
    CHALLENGE,
    KINDS,
    AnyStep,
    Authenticate,
    BlockLength,
    Failure,
    ForEach,
    Poll,
    Refusal,
    Seconds,
    Sequence,
    Status,
    walk,
)
from otabench.bench.uds.sequence.template import NUMBERS, Template, TemplateText
from otabench.bench.uds.sequence.values import VALUE_KINDS, Composed, Value
from otabench.bench.yaml_text import Document, Place, YamlMistake


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Times(_Model):
    """Response times until the ECU reports its own in the answer to 10, and limits."""

    p2_s: Seconds = 0.05
    p2_star_s: Seconds = 5.0
    margin_s: Seconds = 1.0
    """Added to P2 and P2*, for delays of the bus and of a busy machine."""
    max_pending_s: Seconds = 60.0
    """A request fails if the ECU answers NRC 78 for longer than this."""


class KeepAlive(_Model):
    """TesterPresent (3E), which is sent periodically while a job runs."""

    every_s: float = Field(default=2.0, gt=0, le=60)
    request: TemplateText = Template.parse("3E 80")
    functional: bool = True

    @field_validator("request")
    @classmethod
    def _is_constant(cls, given: Template) -> Template:
        if not given.constant:
            raise ValueError("it is sent at any time: give constant bytes")
        return given


class Acts(_Model):
    """The sequence of each act; an act without steps is not carried out."""

    pre_programming: Sequence = Sequence(steps=())
    programming: Sequence
    activate: Sequence = Sequence(steps=())
    verify: Sequence = Sequence(steps=())
    confirm: Sequence = Sequence(steps=())
    revert: Sequence = Sequence(steps=())
    post_programming: Sequence = Sequence(steps=())
    in_bootloader: Sequence = Sequence(steps=())
    """Replaces pre-programming for an ECU that is in its bootloader already."""


class SequenceProfile(_Model):
    """The sequences of one kind of ECU."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")
    sequences: Acts
    values: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Value] = Field(default_factory=dict)
    times: Times = Times()
    layout: Layout = Layout()
    # S3 is 5 s (ISO 14229-2), so a TesterPresent every 2 s keeps the session even if one is lost.
    keep_alive: KeepAlive | None = KeepAlive()
    identity: Identity = Identity()
    bootloader: Bootloader | None = None
    slots: Slots = Slots()
    versions: Versions = Versions()
    payload: Payload = Payload()
    takes_deltas: bool = False
    success: Success | None = None
    """None: by the slot table or the version that the ECU reports, otherwise by the steps of ``verify``. Without any of them the ECU
    only has to answer after its reset."""
    confirm: Confirming | None = None
    """None: by the steps of ``confirm`` if there are any, otherwise ``none``."""
    revert: Reverting | None = None
    """None: by the steps of ``revert`` if there are any; else ``flash_former`` with a single bank, and ``none`` without."""
    # Most of these ECUs have no trial that ends by itself, unlike those with a slot table of this project.
    soak: Soak = Soak(trial_limit_s=None)

    @property
    def proves_success_by(self) -> str:
        """What proves that the new software runs: ``slot``, ``version``, ``sequence`` or only an ``answer``."""
        if self.success is not None:
            return self.success.by
        if self.slots.kind is SlotsKind.TABLE:
            return "slot"
        if self.identity.version is not None:
            return "version"
        return "sequence" if self.sequences.verify.steps else "answer"

    @property
    def confirming(self) -> Confirming:
        """How the new software becomes permanent."""
        return self.confirm or (Confirming.SEQUENCE if self.sequences.confirm.steps else Confirming.NONE)

    @property
    def reverting(self) -> Reverting:
        """How the ECU returns to the software before."""
        if self.revert is not None:
            return self.revert
        if self.sequences.revert.steps:
            return Reverting.SEQUENCE
        return Reverting.FLASH_FORMER if self.slots.kind is SlotsKind.SINGLE else Reverting.NONE

    @property
    def takes_metadata(self) -> bool:
        """Whether the ECU receives the signed metadata: a loop sends blocks of this kind."""
        return any(isinstance(step, ForEach) and step.kind is BlockKind.METADATA for step in self._steps())

    @property
    def authenticates(self) -> bool:
        """Whether the tester authenticates itself by a certificate (29)."""
        return any(isinstance(step, Authenticate) for step in self._steps())

    def _steps(self) -> Iterator[AnyStep]:
        """Return all steps of all acts."""
        return (step for act in Acts.model_fields for _, step in walk(getattr(self.sequences, act).steps))

    @field_validator("values")
    @classmethod
    def _names_are_free(cls, given: dict[str, Any]) -> dict[str, Any]:
        for name in given:
            if name in NUMBERS or name in ("data", CHALLENGE):
                raise ValueError(f"{name} exists in every template; choose another name")
        return given


SECTIONS: Final[dict[str, type[BaseModel]]] = {
    "sequences": Acts,
    "times": Times,
    "keep_alive": KeepAlive,
    "layout": Layout,
    "areas": Area,
    "length": BlockLength,
    "status": Status,
    "poll": Poll,
    "failures": Failure,
    "nrc": Refusal,
    "identity": Identity,
    "serial": DidText,
    "hardware_id": DidText,
    "version": DidText,
    "boot_software_id": DidText,
    "bootloader": Bootloader,
    "slots": Slots,
    "versions": Versions,
    "payload": Payload,
    "success": Success,
    "soak": Soak,
}
"""The models behind keys that hold further keys."""


def shipped() -> list[str]:
    """Return the names of the profiles in the package."""
    folder = resources.files("otabench.bench.uds.sequence.profiles")
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def path_of(name: str) -> Path:
    """Return the file of a profile: a shipped one by name, any other by path (a name with ``/`` or ending in ``.yaml``)."""
    if "/" in name or name.endswith(".yaml"):
        return Path(name)
    return Path(str(resources.files("otabench.bench.uds.sequence.profiles"))) / f"{name}.yaml"


def load(path: Path) -> SequenceProfile:
    """Read a profile.

    Raises:
        ProfileMistakes: it cannot be read, or has mistakes; with all of them.
    """
    name = str(path)
    try:
        document = yaml_text.parse(yaml_text.load_text(path))
    except OSError as error:
        raise ProfileMistakes(name, [fail("", f"cannot be read ({error.strerror})", "check the path")]) from error
    except YamlMistake as error:
        place = f"line {error.line}, column {error.column}" if error.line else ""
        raise ProfileMistakes(name, [fail(place, f"not YAML: {error.problem}", error.remedy)]) from error
    try:
        profile = SequenceProfile.model_validate(document.content)
    except ValidationError as error:
        details = [
            each
            for each in error.errors()
            # pydantic leaves wrong steps out of a loop, and then finds the loop empty
            if not (each["type"] == "too_short" and each["input"])
        ]
        findings = [_model_finding(document, each) for each in model_words.without_echoes(details, _keys_at)]
        among_valid = mistakes.among_valid_steps(document.content)
        findings += [_finding(document, place, problem, "") for place, problem in among_valid]
        raise ProfileMistakes(name, findings) from error
    if findings := [_finding(document, place, problem, "") for place, problem in _mistakes_of(profile)]:
        raise ProfileMistakes(name, findings)
    return profile


def _finding(document: Document, place: Place, problem: str, remedy: str) -> Finding:
    """Return a finding with the line of the file and the place in words."""
    words = _place(place)
    line = document.lines.get(_place_in_file(document, place), 1)
    return fail(f"line {line}{', ' if words else ''}{words}", problem, remedy)


def _model_finding(document: Document, detail: Mapping[str, Any]) -> Finding:
    """Return a mistake that pydantic has found."""
    place = detail["loc"]
    if detail["type"] == "step_kind" and isinstance(detail["input"], dict):
        near = [name for key in detail["input"] if (name := nearest(str(key), KINDS))]
        return _finding(document, place, detail["msg"], f"did you mean {near[0]!r}?" if near else "")
    written = document.written.get(_place_in_file(document, place))
    return _finding(document, place, *model_words.words(detail, written=written, known=_keys_at(place[:-1])))


def _place_in_file(document: Document, place: Place) -> Place:
    """Return the place in the file that is nearest to the place in the model."""
    here: Place = ()
    node = document.content
    for index, part in enumerate(place):
        # The name of a step's kind, which pydantic puts behind its number, is not a place in the file.
        if index and isinstance(place[index - 1], int):
            continue
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and part in range(len(node))):
            here, node = (*here, part), node[part]  # type: ignore[index]  # a list has the number by now
    return here


def _keys_at(place: Iterable[str | int]) -> list[str]:
    """Return the keys of the section of a profile that ``place`` leads to."""
    models: dict[str, type[BaseModel]] = {**KINDS, **VALUE_KINDS, **SECTIONS}
    named = [models[part] for part in place if isinstance(part, str) and part in models]
    model = named[-1] if named else SequenceProfile
    return [field.alias or name for name, field in model.model_fields.items()]


def _mistakes_of(profile: SequenceProfile) -> Iterator[tuple[Place, str]]:
    """Return mistakes across steps and sections: fields that do not exist where they are used, missing loops, acts without steps."""
    yield from _of_sections(profile)
    for name, value in profile.values.items():
        if isinstance(value, Composed):
            yield from mistakes.wrong_names(
                value.bytes, ("values", name), set(profile.values) - {name}, is_transfer=False
            )
    # A later act may use what an earlier act has saved.
    known = set(profile.values)
    for act in Acts.model_fields:
        sequence: Sequence = getattr(profile.sequences, act)
        yield from mistakes.of_steps(sequence.steps, ("sequences", act), known, in_loop=False)


def _of_sections(profile: SequenceProfile) -> Iterator[tuple[Place, str]]:
    """Return the mistakes between the sections, and between them and the sequences."""
    acts, kind = profile.sequences, profile.slots.kind
    if not acts.programming.steps:
        yield ("sequences", "programming"), "it has no steps: write how the ECU is programmed"
    by = profile.proves_success_by
    if by == "version" and profile.identity.version is None:
        yield ("success",), "the ECU reports no version: add identity.version, or take by: sequence"
    if by == "slot" and kind is not SlotsKind.TABLE:
        yield ("success",), "the ECU has no slot table: take by: version or by: sequence"
    layout = profile.slots.layout
    if layout is not None and profile.identity.version is None and any(each.version is None for each in layout.each):
        yield ("slots",), "nothing reports the version that runs: add identity.version, or version to each slot"
    if by == "sequence" and not acts.verify.steps:
        yield ("success",), "sequences.verify has no steps: add them, or identity.version"
    if profile.confirm is Confirming.SEQUENCE and not acts.confirm.steps:
        yield ("confirm",), "sequences.confirm has no steps: add them, or take confirm: none"
    if profile.revert is Reverting.SEQUENCE and not acts.revert.steps:
        yield ("revert",), "sequences.revert has no steps: add them, or take another revert"
    if profile.revert is Reverting.RESET_UNCONFIRMED and kind is SlotsKind.SINGLE:
        yield ("revert",), "an ECU with a single bank has no software to fall back to: take flash_former or none"
    if profile.confirm is Confirming.ITSELF and kind is not SlotsKind.TABLE:
        yield ("confirm",), "whether the ECU has confirmed it shows in a slot table only: take confirm: none"
    if profile.takes_deltas and profile.payload.patch_data_format is None:
        yield ("takes_deltas",), "a patch needs a data format: add payload.patch_data_format, or take it away"


def _place(location: Place) -> str:
    """Return a place in words, with steps counted from 1.

    pydantic adds the kind that it has chosen for a step or value, after a step's number or a second time. Leave that out.
    """
    words: list[str] = []
    for index, part in enumerate(location):
        if isinstance(part, int):
            words.append(f"step {part + 1}")
        elif part not in ("steps", "sequences", *words[-1:]) and not (index and isinstance(location[index - 1], int)):
            words.append(part)
    return " ".join(words) or " ".join(map(str, location))
