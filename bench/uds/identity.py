"""Read the identity and slot table of an ECU by UDS, and wait until an ECU answers.

    identity = probe(endpoint)  # opens the bus for this one call
    identity.software_version, identity.active.state

The layout of the slot table is in ``slot_table``.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from otabench.bench.deadline import Deadline
from otabench.bench.uds import profile as profiles
from otabench.bench.uds import slot_table
from otabench.bench.uds.client import EcuClient
from otabench.bench.uds.endpoint import EcuEndpoint
from otabench.bench.uds.errors import BusUnavailable, EcuContradicts, EcuLost, EcuRefused, FlashCanceled
from otabench.bench.uds.slot_table import Slot, SlotTable
from otabench.bench.uds.transport import TransportError, open_channel
from otabench.proto.trace import TraceWriter

AWAIT_STEP: Final = "3E 00 tester present"


@dataclass(frozen=True)
class EcuIdentity:
    """The identity that an ECU reports: DIDs F18C, F191, F189, F1A1, F180, F1A0."""

    ecu: str
    serial: str
    hardware_id: str
    software_version: str
    active_slot: int
    boots_left: int
    slots: tuple[Slot, ...]
    boot_software_id: str = ""
    rxswin: str = ""
    """Of the type-approved software that the ECU runs a part of (UN R156); empty: it has none."""
    dtcs: tuple[str, ...] = ()
    """Texts of the stored trouble codes; empty unless the caller read them (``dtcs.read_dtcs``)."""

    @property
    def active(self) -> Slot:
        return self.slots[self.active_slot]


def read_slots(client: EcuClient, *, p2_s: float | None = None) -> SlotTable:
    """Return the slot table.

    Raises:
        FlashError: see ``EcuClient.read``; EcuContradicts if the record is not a slot table.
    """
    identifier = client.profile.identifiers.slot_table
    record = client.read(identifier, p2_s=p2_s)
    try:
        return slot_table.parse(record)
    except ValueError as error:
        raise client.contradiction(f"22 {identifier:04X} read", str(error)) from error


def read_identity(client: EcuClient, *, p2_s: float | None = None) -> EcuIdentity:
    """Return everything that an ECU reports about itself.

    Raises:
        FlashError: see ``EcuClient.read``.
    """
    identifiers = client.profile.identifiers
    slots = read_slots(client, p2_s=p2_s)
    return EcuIdentity(
        ecu=client.name,
        serial=_text(client, identifiers.serial, p2_s),
        hardware_id=_text(client, identifiers.hardware_id, p2_s),
        software_version=_text(client, identifiers.software_version, p2_s),
        active_slot=slots.active_slot,
        boots_left=slots.boots_left,
        slots=slots.slots,
        boot_software_id=_text_if_supported(client, identifiers.boot_software_id, p2_s),
        rxswin=_text_if_supported(client, identifiers.rxswin, p2_s),
    )


def probe(endpoint: EcuEndpoint, trace: TraceWriter | None = None) -> EcuIdentity:
    """Return the identity of one ECU. Open its bus for this call only.

    Raises:
        FlashError: the bus cannot be opened, the ECU is silent, or a response does not fit.
    """
    try:
        channel = open_channel(endpoint.bus, endpoint.isotp)
    except TransportError as error:
        raise BusUnavailable(str(error), ecu=endpoint.name, step="open bus") from error
    try:
        connection = channel.connection(
            request_id=endpoint.request_id, response_id=endpoint.response_id, isotp=endpoint.isotp
        )
        writer = trace or TraceWriter(None, component="probe")
        with EcuClient(endpoint, profiles.load(endpoint.profile), connection, writer) as client:
            return read_identity(client)
    finally:
        channel.close()


def await_answer(client: EcuClient, *, deadline: Deadline, cancel: threading.Event | None = None) -> None:
    """Wait until the ECU answers TesterPresent (3E 00), positively or negatively.

    A refusal proves that the ECU runs as well as a positive response does.

    Raises:
        EcuLost: it did not answer before ``deadline``.
        BusUnavailable: the bus was still away at ``deadline``.
        FlashCanceled: ``cancel`` was set.
    """
    timing = client.profile.timing
    lost: EcuLost | BusUnavailable
    while True:
        if cancel is not None and cancel.is_set():
            raise FlashCanceled(f"{client.name}: canceled while waiting for the ECU")
        client.close()
        try:
            client.request(b"\x3e\x00", step=AWAIT_STEP, p2_s=timing.poll_p2_s)
            return
        except EcuRefused:
            return
        except EcuContradicts as error:
            lost = EcuLost.of(error)
        except (EcuLost, BusUnavailable) as error:
            lost = error
        if deadline.has_passed():
            raise lost
        deadline.pause(timing.poll_pause_s)


def _text_if_supported(client: EcuClient, identifier: int | None, p2_s: float | None) -> str:
    """Return the text of an identifier that not every ECU supports, and on which no rule depends."""
    try:
        return "" if identifier is None else _text(client, identifier, p2_s)
    except EcuRefused:
        return ""


def _text(client: EcuClient, identifier: int, p2_s: float | None) -> str:
    record = client.read(identifier, p2_s=p2_s)
    try:
        return record.decode("ascii")
    except UnicodeDecodeError as error:
        raise client.contradiction(f"22 {identifier:04X} read", f"{record.hex()} is not ASCII") from error
