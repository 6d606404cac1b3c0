"""The numbers behind the report's plots: lanes, curves and counts, from a run's trace and the statistics of its captures.

Pure: events and statistics in, numbers out; nothing is drawn here.

How the figures are made:

* Times are seconds since the job's first state in the gateway, on the wall clock, which trace and capture share.
* The flash rate is measured for each block: the data bytes of one 36 request, divided by the time until its response. A short last block is
  left out.
* Bus load is the bits on the line (stuff bits and intermission included) in an interval, divided by the bits that the line can carry in
  that time. An ECU's share counts its request, response and application frames; the rest is "other".
* An exchange without an answer is described by its step and by the ECU's phase, because the gateway polls an ECU while it boots.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Final

from otabench.bench.captures.statistics import BIN_S, BusStatistics
from otabench.bench.uds.names import NEGATIVE_RESPONSES, SERVICES
from otabench.proto.isotp_address import FrameAddress
from otabench.proto.job_states import FINAL_STATES
from otabench.proto.trace import TraceEvent

MAX_INTERVALS: Final = 240
OTHER: Final = "other"
_SILENCE: Final = "no answer"
_GATEWAY: Final = "gateway"
_BLOCK_HEADER_BYTES: Final = 2
_MARGIN_S: Final = 0.2
_MIN_RATED_BYTES: Final = 512
"""The rate of a shorter last block depends on the response time and on what a paced bus has saved up, not on the line."""


@dataclass(frozen=True)
class Span:
    """A state or a phase, with its begin and end."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Lane:
    """The spans of the job or of one ECU, in order."""

    name: str
    spans: tuple[Span, ...]


@dataclass(frozen=True)
class Block:
    """One block of a transfer: its time and its rate."""

    start_s: float
    end_s: float
    bytes_per_s: float


@dataclass(frozen=True)
class LoadSeries:
    """The load of one bus. ``shares[name][n]`` is the part of interval ``n``, 0 to 1."""

    bus: str
    start_s: float
    interval_s: float
    shares: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Troubles:
    """Retries, negative responses and missing answers among one ECU's UDS exchanges in a job."""

    exchanges: int = 0
    repeated_blocks: int = 0
    resumed_transfers: int = 0
    refused_patches: int = 0
    unanswered: Mapping[str, int] = field(default_factory=dict)
    """The number of exchanges without an answer, by ``step, while phase``. The key contains the problem, unless it was plain silence."""
    negative: Mapping[str, int] = field(default_factory=dict)
    """The number of negative responses, by ``service: name (NRC)``."""


@dataclass(frozen=True)
class Series:
    """Everything that the page draws."""

    started_at: str
    """The zero of the times, ISO 8601."""
    duration_s: float
    lanes: tuple[Lane, ...]
    blocks: Mapping[str, tuple[Block, ...]]
    loads: tuple[LoadSeries, ...]
    troubles: Mapping[str, Troubles]


def make(
    events: Sequence[TraceEvent],
    job_id: str,
    *,
    ids: Mapping[str, tuple[str, tuple[FrameAddress, ...]]],
    statistics: Mapping[str, BusStatistics],
) -> Series | None:
    """Return the series of a job; None if the gateway never had it.

    Args:
        events: the run's trace.
        job_id: the job.
        ids: of each ECU: its bus and its frames' addresses there.
        statistics: of the captured buses.
    """
    own = sorted((event for event in events if event.job_id == job_id), key=lambda event: event.mono_ns)
    states = [event for event in own if event.event == "job.state" and event.component == _GATEWAY]
    if not states:
        return None
    zero_s = _wall_s(states[0])
    end_s = _wall_s(next((event for event in reversed(own) if event.component == _GATEWAY), states[-1])) - zero_s
    return Series(
        started_at=states[0].ts,
        duration_s=end_s,
        lanes=(_job_lane(states, zero_s, end_s), *(_ecu_lane(own, ecu, zero_s, end_s) for ecu in ids)),
        blocks={ecu: _blocks(own, ecu, zero_s) for ecu in ids},
        loads=tuple(
            _load(name, bus, {ecu: addresses for ecu, (on, addresses) in ids.items() if on == name}, zero_s, end_s)
            for name, bus in statistics.items()
        ),
        troubles={ecu: _troubles(own, ecu) for ecu in ids},
    )


def _wall_s(event: TraceEvent) -> float:
    return datetime.fromisoformat(event.ts).timestamp()


def _job_lane(states: Sequence[TraceEvent], zero_s: float, end_s: float) -> Lane:
    return _lane("job", [(str(event.data.get("to")), _wall_s(event) - zero_s) for event in states], end_s)


def _ecu_lane(own: Sequence[TraceEvent], ecu: str, zero_s: float, end_s: float) -> Lane:
    phases = [event for event in own if event.event == "ecu.phase" and event.ecu == ecu]
    return _lane(ecu, [(str(event.data.get("phase")), _wall_s(event) - zero_s) for event in phases], end_s)


def _lane(name: str, starts: Sequence[tuple[str, float]], end_s: float) -> Lane:
    """Return a lane whose spans last until the next one begins. Final states are left out: they have no duration."""
    final = {str(state) for state in FINAL_STATES}
    spans: list[Span] = []
    for (what, start), (_, end) in pairwise([*starts, ("", end_s)]):
        if what in final:
            continue
        if spans and spans[-1].name == what and spans[-1].end_s == start:
            spans[-1] = Span(what, spans[-1].start_s, max(start, end))
        else:
            spans.append(Span(what, start, max(start, end)))
    return Lane(name, tuple(spans))


def _blocks(own: Sequence[TraceEvent], ecu: str, zero_s: float) -> tuple[Block, ...]:
    found = []
    for event in own:
        if event.event != "uds.exchange" or event.ecu != ecu or event.data.get("service") != "36":
            continue
        duration_s = float(event.data.get("duration_ms") or 0) / 1000
        if duration_s <= 0 or event.data.get("nrc") is not None or event.data.get("problem"):
            continue
        end_s = _wall_s(event) - zero_s
        size = int(event.data.get("request_bytes") or 0) - _BLOCK_HEADER_BYTES
        # The last block of an image is short, and P2 and the ECU's own time weigh more than the line.
        if size < _MIN_RATED_BYTES:
            continue
        found.append(Block(end_s - duration_s, end_s, size / duration_s))
    return tuple(found)


def _load(
    name: str, bus: BusStatistics, ids: Mapping[str, tuple[FrameAddress, ...]], zero_s: float, end_s: float
) -> LoadSeries:
    first = int((zero_s - _MARGIN_S) // BIN_S)
    last = max(first, int((zero_s + end_s + _MARGIN_S) // BIN_S))
    step = max(1, -(-(last - first + 1) // MAX_INTERVALS))
    count = -(-(last - first + 1) // step)
    # bits are weighed by the nominal bit rate (captures.statistics), so this holds for CAN FD too.
    carried = bus.bitrate * BIN_S * step

    def summed(bins: Mapping[int, int]) -> list[float]:
        parts = [0.0] * count
        for key, bits in bins.items():
            if first <= key <= last:
                parts[(key - first) // step] += bits / carried
        return parts

    total = summed(bus.bins)
    shares = {}
    for ecu, addresses in ids.items():
        entries = [bus.of(address.can_id, address.extension) for address in addresses]
        each = [summed(entry.bins) for entry in entries if entry is not None]
        shares[ecu] = tuple(sum(parts) for parts in zip(*each, strict=True)) if each else (0.0,) * count
    # Not below 0: a frame counts in the interval in which it ended, and rounding may make the ECUs' sum larger than
    # the bus's.
    rest = tuple(max(0.0, all_ - sum(parts[n] for parts in shares.values())) for n, all_ in enumerate(total))
    return LoadSeries(name, first * BIN_S - zero_s, BIN_S * step, {**shares, OTHER: rest})


def _troubles(own: Sequence[TraceEvent], ecu: str) -> Troubles:
    mine = [event for event in own if event.ecu == ecu]
    exchanges = [event for event in mine if event.event == "uds.exchange"]
    negative: dict[str, int] = {}
    for event in exchanges:
        nrc = event.data.get("nrc")
        if nrc is None:
            continue
        number, service = int(nrc), int(str(event.data.get("service") or "0"), 16)
        key = f"{SERVICES.get(service, f'{service:02X}')}: {NEGATIVE_RESPONSES.get(number, 'NRC')} ({number:02X})"
        negative[key] = negative.get(key, 0) + 1
    counters = [event.data.get("block_sequence_counter") for event in exchanges]
    return Troubles(
        exchanges=len(exchanges),
        # The same counter twice in a row: ISO 14229-1 has the tester repeat a block with its counter unchanged.
        repeated_blocks=sum(1 for before, after in pairwise(counters) if before is not None and before == after),
        resumed_transfers=sum(1 for event in mine if event.event == "flash.lost"),
        refused_patches=sum(1 for event in mine if event.event == "flash.patch_refused"),
        unanswered=_unanswered(mine),
        negative=negative,
    )


def _unanswered(mine: Sequence[TraceEvent]) -> dict[str, int]:
    found: dict[str, int] = {}
    phase = ""
    for event in mine:
        if event.event == "ecu.phase":
            phase = str(event.data.get("phase"))
        elif event.event == "uds.exchange" and event.data.get("problem"):
            problem = str(event.data["problem"])
            words = str(event.data.get("step") or event.data.get("service")) + (
                "" if problem == _SILENCE else f": {problem}"
            )
            key = f"{words}, while {phase}" if phase else words
            found[key] = found.get(key, 0) + 1
    return found
