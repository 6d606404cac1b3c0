"""The figures of a run, computed from its files: trace, capture statistics, and the ECUs' slots before and after.

All figures of the report, and the exit status. ``report.text`` prints them, ``report.page`` shows them.

How the figures are made:

* A phase lasts from the gateway's ``job.state`` event to the next one, on the monotonic clock.
* A transfer's rate is its ``flash.transfer`` event's. What the bus can carry is computed from the capture: bit rate, over
  the mean length in bits of the full consecutive frames that carried this ECU's firmware (stuff bits counted one by one,
  intermission included), times the payload bytes of such a frame: without the address in front, where it has one. Both figures and
  their ratio are stated.
* The job has SUCCEEDED only if every ECU runs the new version in a CONFIRMED slot, as reported by the ECU itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from otabench.bench.bus import frame_bits
from otabench.bench.bus.canline import LineCounters
from otabench.bench.bus.pacing import Pacing
from otabench.bench.captures.statistics import BusStatistics
from otabench.bench.clients.job_watch import JobView
from otabench.bench.topology import addresses
from otabench.bench.topology.entries import BusEntry
from otabench.bench.topology.model import Topology
from otabench.proto.isotp_address import FrameAddress
from otabench.proto.job_states import JobState
from otabench.proto.trace import TraceEvent

EXIT_STATUS: Final[dict[JobState, int]] = {
    JobState.SUCCEEDED: 0,
    JobState.ROLLED_BACK: 3,
    JobState.FAILED: 4,
    JobState.REJECTED: 5,
    JobState.CANCELED: 6,
    JobState.TIMED_OUT: 6,
}
UNHARMED: Final = frozenset({JobState.ROLLED_BACK, JobState.REJECTED, JobState.CANCELED, JobState.TIMED_OUT})
"""Ends without the update, after which every ECU runs what it ran before."""
BENCH_FAILED: Final = 1
NO_CAMPAIGN: Final = "NO CAMPAIGN"
"""The result of a run in which no campaign was made."""


@dataclass(frozen=True)
class EcuReport:
    """What an ECU runs: the active slot's version and state, and both slots as ``state version``."""

    version: str
    state: str
    active_slot: int
    slots: tuple[str, ...]

    @classmethod
    def from_control_port(cls, answer: Mapping[str, Any]) -> EcuReport:
        """Return the report of a simulated ECU, from its answer to ``state``."""
        active = int(answer["active_slot"])
        slots = answer["slots"]
        return cls(
            version=str(slots[active]["version"]),
            state=str(slots[active]["state"]),
            active_slot=active,
            slots=tuple(f"{slot['state']} {slot['version']}".strip() for slot in slots),
        )


@dataclass(frozen=True)
class EcuOnBus:
    """An ECU's place on the buses: bus and identifiers."""

    bus: str
    kind: str
    hardware_id: str
    request_id: int
    response_id: int
    request_extension: int | None = None
    response_extension: int | None = None
    """The address in front of each frame, with extended addressing."""
    periodic_ids: tuple[int, ...] = ()
    """Identifiers of its application's frames."""


@dataclass(frozen=True)
class TransferReport:
    """One transfer of firmware over the bus."""

    ecu: str
    kind: str
    bytes: int
    duration_s: float
    bytes_per_s: float
    full_image_bytes: int
    limit_bytes_per_s: float | None
    """None where the bus was not captured."""
    bus_load: float | None
    """Load of the bus during the transfer: bits on the line, divided by what it carries in that time."""

    @property
    def share_of_limit(self) -> float | None:
        """The rate over the limit."""
        return None if not self.limit_bytes_per_s else self.bytes_per_s / self.limit_bytes_per_s


@dataclass(frozen=True)
class BusReport:
    """One bus over the whole run."""

    channel: str
    bitrate: int
    fd: bool
    paced: bool
    pace: str
    """``exact`` or ``mean frame length`` (``bus.pacing``); empty where it is not paced."""
    pacing_note: str
    frames: int
    data_bytes: int
    bits: int
    lost_frames: int
    error_frames: int
    mean_consecutive_frame_bits: float | None
    mean_consecutive_payload_bytes: float | None
    payload_limit_bytes_per_s: float | None
    has_line: bool = True
    """Frames take the time of their bits here. Otherwise there is neither a limit nor a load."""
    line: LineCounters | None = None
    """Counters of the line itself since the bench came up; None unless it is paced exactly. All else here comes from the capture."""


@dataclass(frozen=True)
class Report:
    """The whole report; ``to_json`` is report.json."""

    result: str
    exit_status: int
    reason: str
    vin: str
    job_id: str
    campaign_id: str
    target_version: str
    transfer_policy: str
    kernel_can: bool
    faults: tuple[str, ...]
    duration_s: float
    phases: tuple[tuple[str, float], ...]
    before: Mapping[str, EcuReport]
    after: Mapping[str, EcuReport]
    transfers: tuple[TransferReport, ...]
    buses: Mapping[str, BusReport]
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    ecus: Mapping[str, EcuOnBus] = field(default_factory=dict)
    dtcs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Trouble codes that the ECUs had stored after the job, as the gateway read them (19 02, 19 06)."""
    overhead: tuple[tuple[str, float], ...] = ()
    """The run's own phases, without the job, in s: bringing the bench up, and what came before and after."""

    def to_json(self) -> str:
        plain = asdict(self)
        # asdict leaves properties out.
        for entry, transfer in zip(plain["transfers"], self.transfers, strict=True):
            entry["share_of_limit"] = transfer.share_of_limit
        plain["phases"] = [{"state": state, "duration_s": seconds} for state, seconds in self.phases]
        plain["overhead"] = [{"phase": phase, "duration_s": seconds} for phase, seconds in self.overhead]
        plain["limit_is"] = LIMIT_IS
        return json.dumps(plain, indent=1)


LIMIT_IS: Final = (
    "bit rate / mean length in bits of the captured full consecutive frames (with stuff bits and 3 bits of intermission) "
    "x payload bytes of such a frame"
)


def tone(result: str, exit_status: int | None) -> str:
    """Return how a result is colored on every page: good, warn or bad."""
    if result == JobState.SUCCEEDED and exit_status == 0:
        return "good"
    return "warn" if result in UNHARMED else "bad"


def phases(events: Sequence[TraceEvent], job_id: str) -> tuple[tuple[str, float], ...]:
    """Return the states of the job with the time spent in each, in s. The final state is left out: it has no duration."""
    moments = [
        (str(event.data.get("to")), event.mono_ns)
        for event in events
        if event.event == "job.state" and event.component == "gateway" and event.job_id == job_id
    ]
    return tuple((state, (until - since) / 1e9) for (state, since), (_, until) in pairwise(moments))


def dtcs(events: Sequence[TraceEvent], *, since_ns: int) -> dict[str, tuple[str, ...]]:
    """Return the trouble codes that the gateway read last after that moment, of each ECU that answered."""
    return {
        event.ecu: tuple(str(dtc) for dtc in event.data["dtcs"])
        for event in events
        if event.event == "ecu.dtcs" and event.ecu is not None and event.mono_ns >= since_ns
    }


def transfers(
    events: Sequence[TraceEvent],
    job_id: str,
    *,
    topology: Topology,
    statistics: Mapping[str, BusStatistics],
    full_image_bytes: Mapping[str, int],
    pacings: Mapping[str, Pacing],
) -> tuple[TransferReport, ...]:
    """Firmware transfers of a job (metadata is left out).

    Limit and load of a bus without a line are None: a rate means nothing against a bit rate that nothing keeps.
    """
    found = []
    for event in events:
        if event.event != "flash.transfer" or event.job_id != job_id or event.ecu not in topology.ecus:
            continue
        kind = str(event.data.get("kind"))
        if kind not in ("full", "delta"):
            continue
        ecu = topology.ecus[event.ecu]
        # Without a line (udp_multicast, an unpaced vcan) a rate only shows how fast this computer is.
        timed = has_line(topology.buses[ecu.bus], pacings.get(ecu.bus))
        bus = statistics.get(ecu.bus) if timed else None
        duration_s = float(event.data["duration_s"])
        # The capture has only the wall clock, so the interval is cut out of it by that clock; the duration itself is
        # the event's, from the monotonic clock.
        end_s = datetime.fromisoformat(event.ts).timestamp()
        found.append(
            TransferReport(
                ecu=event.ecu,
                kind=kind,
                bytes=int(event.data["bytes"]),
                duration_s=duration_s,
                bytes_per_s=float(event.data["bytes_per_s"]),
                full_image_bytes=full_image_bytes.get(event.ecu, 0),
                limit_bytes_per_s=_limit(bus, _requests(topology, [event.ecu]), fd=topology.buses[ecu.bus].fd),
                bus_load=_load(bus, end_s - duration_s, end_s),
            )
        )
    return tuple(found)


def has_line(bus: BusEntry, pacing: Pacing | None) -> bool:
    """Return whether frames take the time of their bits: on wires, and on a vcan that is paced."""
    return bool(pacing and pacing.applied) or bus.has_wires


def _requests(topology: Topology, ecus: Sequence[str]) -> list[FrameAddress]:
    return list(dict.fromkeys(addresses.addresses(topology, ecu)["request"] for ecu in ecus))


def _limit(bus: BusStatistics | None, requests: Sequence[FrameAddress], *, fd: bool) -> float | None:
    """Return what the bus can carry of consecutive frames with these addresses, in payload bytes a second."""
    means = _mean_consecutive(bus, requests, fd=fd)
    if bus is None or means is None:
        return None
    bits, payload_bytes = means
    return frame_bits.payload_limit_bytes_per_s(bus.bitrate, bits, payload_bytes=payload_bytes)


def _mean_consecutive(
    bus: BusStatistics | None, requests: Sequence[FrameAddress], *, fd: bool
) -> tuple[float, float] | None:
    """Return the bits and payload bytes of such a frame; None where none was captured."""
    if bus is None:
        return None
    frames = bits = payload_bytes = 0
    for address in requests:
        entry = bus.of(address.can_id, address.extension)
        if entry is not None:
            frames += entry.consecutive_frames
            bits += entry.consecutive_bits
            payload_bytes += entry.consecutive_frames * (frame_bits.consecutive_payload(fd=fd) - len(address.prefix))
    return (bits / frames, payload_bytes / frames) if frames else None


def _load(bus: BusStatistics | None, start_s: float, end_s: float) -> float | None:
    if bus is None or end_s <= start_s:
        return None
    return bus.bits_between(start_s, end_s) / (bus.bitrate * (end_s - start_s))


def bus_reports(
    topology: Topology,
    statistics: Mapping[str, BusStatistics],
    pacings: Mapping[str, Pacing],
    *,
    lines: Mapping[str, LineCounters | None],
) -> dict[str, BusReport]:
    """Return one entry for each captured bus."""
    reports = {}
    for name, bus in statistics.items():
        entry = topology.buses[name]
        requests = _requests(topology, [ecu for ecu, at in topology.ecus.items() if at.bus == name])
        bits, payload_bytes = _mean_consecutive(bus, requests, fd=entry.fd) or (None, None)
        pacing = pacings.get(name)
        reports[name] = BusReport(
            channel=str(entry.channel),
            bitrate=bus.bitrate,
            fd=entry.fd,
            paced=bool(pacing and pacing.applied),
            has_line=has_line(entry, pacing),
            pace=pacing.pace if pacing else "",
            pacing_note=pacing.reason if pacing else "",
            frames=bus.frames,
            data_bytes=bus.data_bytes,
            bits=bus.bits,
            lost_frames=bus.lost_frames,
            error_frames=bus.error_frames,
            mean_consecutive_frame_bits=bits,
            mean_consecutive_payload_bytes=payload_bytes,
            payload_limit_bytes_per_s=_limit(bus, requests, fd=entry.fd) if has_line(entry, pacing) else None,
            line=lines.get(name),
        )
    return reports


def verdict(
    job: JobView | None, after: Mapping[str, EcuReport], *, ecus: Sequence[str], targets: Mapping[str, str] | None
) -> tuple[str, int, str]:
    """Return result, exit status and reason.

    Args:
        job: as the gateway reported it; None: the gateway never had it.
        after: the states that the ECUs report at the end.
        ecus: names of those that must run the target version.
        targets: of the campaign, by ECU; None: not known, any confirmed version will do.
    """
    if job is None:
        return "NONE", BENCH_FAILED, "the gateway never took the job up; see logs/gateway.log"
    # A job that is still open at the end of a run is the bench's failure: it waits for an end of every job.
    if not job.ended:
        return str(job.state), BENCH_FAILED, f"the job had not ended: {job.reason or 'it was still going on'}"
    if job.state is not JobState.SUCCEEDED:
        return str(job.state), EXIT_STATUS[job.state], job.reason
    wrong = [
        f"{name} runs {after[name].version} ({after[name].state})" if name in after else f"{name} does not answer"
        for name in ecus
        if name not in after
        # A TRIAL image of the right version is not a success: it would be gone after the next reset.
        or after[name].state != "CONFIRMED"
        or (targets is not None and after[name].version != targets[name])
    ]
    if wrong:
        return str(job.state), BENCH_FAILED, f"the job is SUCCEEDED, but {', '.join(wrong)}"
    return str(job.state), EXIT_STATUS[job.state], job.reason


def ecus_on_buses(topology: Topology) -> dict[str, EcuOnBus]:
    """Return where each ECU of the bench is."""
    found = {}
    for name, ecu in topology.ecus.items():
        at = addresses.addresses(topology, name)
        request, response = at["request"], at["response"]
        found[name] = EcuOnBus(
            bus=ecu.bus,
            kind=ecu.kind,
            hardware_id=ecu.hardware_id,
            request_id=request.can_id,
            response_id=response.can_id,
            request_extension=request.extension,
            response_extension=response.extension,
            periodic_ids=tuple(frame.id for frame in ecu.periodic),
        )
    return found


def read_statistics(folder: Path, buses: Sequence[str]) -> dict[str, BusStatistics]:
    """Return the statistics of the captures that were made; a bus without one is left out."""
    found = {}
    for bus in buses:
        path = folder / f"{bus}.stats.json"
        if path.is_file():
            found[bus] = BusStatistics.from_json(path.read_text(encoding="utf-8"))
    return found
