"""A campaign's facts about the ECUs of a job, as lines of text: versions, slots, who vouches for them, reports that were dropped."""

from __future__ import annotations

from otabench.proto import ota_pb2
from otabench.proto.foreign_text import printable


def report_lines(job: ota_pb2.Job) -> list[str]:
    """Return one line for each ECU: what it runs, and who vouches for that; and one for version reports that were dropped."""
    lines = []
    for ecu in job.ecus:
        slots = ", ".join(_slot(slot) for slot in ecu.slots)
        signed = ecu.evidence == ota_pb2.EVIDENCE_SIGNED_BY_ECU
        who = "signed by the ECU" if signed else "reported by the gateway"
        lines.append(f"{printable(f'{ecu.ecu} ({ecu.hardware_id}): {ecu.software_version}')} ({who}), slots: {slots}")
    if job.dropped_reports:
        two = "; two gateways report for this vehicle" if job.two_reporters else ""
        lines.append(f"{job.dropped_reports} version reports dropped{two}; the last: {printable(job.dropped_reason)}")
    return lines


def _slot(slot: ota_pb2.Slot) -> str:
    # Enumerations of proto3 are open: a vehicle may report any number.
    names = ota_pb2.SlotState.DESCRIPTOR.values_by_number
    state = names[slot.state].name.removeprefix("SLOT_STATE_") if slot.state in names else f"state {slot.state}"
    return f"{state} {printable(slot.version)}".strip()
