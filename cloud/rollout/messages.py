"""Roll-outs in messages: read and check those of requests, and write status messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from otabench.cloud.errors import InvalidRequest
from otabench.cloud.rollout.rules import MAX_PER_MINUTE, MAX_WAVES, Progress, Rollout, Wave, WaveCounts
from otabench.proto import ota_pb2
from otabench.proto.driver_rules import MAX_TIME_S

_ALL: Final = 100.0


def read_rollout(request: ota_pb2.CreateCampaignRequest) -> Rollout | None:
    """Return the roll-out that a request asks for. None: all vehicles at once.

    Raises:
        InvalidRequest: it contradicts itself, or a number is out of range.
    """
    if not request.HasField("rollout"):
        return None
    given = request.rollout
    waves = _read_waves(given, vehicles=len(request.vins))
    _check_numbers(given, waves)
    return Rollout(
        waves=waves or Rollout().waves,
        success_percent=given.success_percent if given.HasField("success_percent") else _ALL,
        error_percent=given.error_percent if given.HasField("error_percent") else None,
        max_per_minute=given.max_per_minute,
        start_at=given.start_at,
        end_at=given.end_at,
    )


def rollout_message(rollout: Rollout) -> ota_pb2.Rollout:
    """Return the message that shows what the operator has asked for."""
    return ota_pb2.Rollout(
        waves=[
            ota_pb2.Rollout.Wave(vehicles=wave.vehicles)
            if wave.vehicles is not None
            else ota_pb2.Rollout.Wave(share_percent=wave.share_percent)
            for wave in rollout.waves
        ],
        success_percent=rollout.success_percent,
        error_percent=rollout.error_percent,
        max_per_minute=rollout.max_per_minute,
        start_at=rollout.start_at,
        end_at=rollout.end_at,
    )


def status_message(rollout: Rollout, progress: Progress, counts: Sequence[WaveCounts]) -> ota_pb2.RolloutStatus:
    """Return the message that shows how far a roll-out has come."""
    return ota_pb2.RolloutStatus(
        rules=rollout_message(rollout),
        open_waves=progress.open_waves,
        paused=progress.paused or "",
        paused_reason=progress.reason,
        waves=[
            ota_pb2.RolloutStatus.WaveCounts(
                jobs=wave.jobs,
                held=wave.held,
                succeeded=wave.succeeded,
                failed=wave.failed,
                left_out=wave.left_out,
            )
            for wave in counts
        ],
    )


def _read_waves(given: ota_pb2.Rollout, *, vehicles: int) -> tuple[Wave, ...]:
    if len(given.waves) > MAX_WAVES:
        raise InvalidRequest(f"rollout.waves: {len(given.waves)} waves are more than {MAX_WAVES}")
    waves = []
    for number, each in enumerate(given.waves, start=1):
        if each.WhichOneof("size") == "vehicles" and each.vehicles > 0:
            waves.append(Wave(vehicles=each.vehicles))
        elif each.WhichOneof("size") == "share_percent" and 0 < each.share_percent <= _ALL:
            waves.append(Wave(share_percent=each.share_percent))
        else:
            raise InvalidRequest(
                f"rollout.waves: wave {number} needs a share above 0 % up to 100 %, or a number of vehicles"
            )
    if waves and waves[-1].share_percent != _ALL:
        raise InvalidRequest(
            "rollout.waves: the last wave must be 100 %, or some vehicles would never be offered the campaign"
        )
    ends = [wave.last_vehicle(vehicles) for wave in waves]
    for number, (before, after) in enumerate(pairwise(ends), start=1):
        if after < before:
            raise InvalidRequest(
                f"rollout.waves: wave {number + 1} ends at vehicle {after}, before wave {number} ({before}): "
                "each wave includes those before it"
            )
    return tuple(waves)


def _check_numbers(given: ota_pb2.Rollout, waves: Sequence[Wave]) -> None:
    for field in ("success_percent", "error_percent"):
        # Written like this, the comparison refuses NaN as well.
        if given.HasField(field) and not 0 <= getattr(given, field) <= _ALL:
            raise InvalidRequest(f"rollout.{field} {getattr(given, field):g}: a share from 0 to 100 %")
    if len(waves) > 1 and not given.HasField("success_percent"):
        raise InvalidRequest(
            "rollout.success_percent: state which share of a wave must succeed before the next one opens"
        )
    if given.max_per_minute > MAX_PER_MINUTE:
        raise InvalidRequest(f"rollout.max_per_minute {given.max_per_minute}: {MAX_PER_MINUTE} at most")
    for field in ("start_at", "end_at"):
        value = getattr(given, field)
        if not math.isfinite(value) or not 0 <= value <= MAX_TIME_S:
            raise InvalidRequest(f"rollout.{field} {value}: seconds since 1970, in UTC")
    if given.end_at and given.end_at <= given.start_at:
        raise InvalidRequest("rollout.end_at: the end must be later than the start")
