"""The options of a roll-out, and how it is shown."""

from __future__ import annotations

import pytest

from otabench.bench.cli.rollouts import parse_rollout, rollout_lines
from otabench.bench.errors import WrongUsage
from otabench.proto import ota_pb2

NONE: dict[str, str | int | None] = dict.fromkeys(("waves", "success", "errors", "start", "end"))


def parse(**options: str | int) -> ota_pb2.Rollout | None:
    return parse_rollout(**{**NONE, "per_minute": 0, **options})  # type: ignore[arg-type]


def test_options_become_a_rollout() -> None:
    assert parse() is None
    rollout = parse(
        waves="5, 10%,100%",
        success="95%",
        errors="0",
        per_minute=7,
        start="2027-01-31T18:00+01:00",
        end="2027-02-01T00:00Z",
    )
    assert rollout == ota_pb2.Rollout(
        waves=[
            ota_pb2.Rollout.Wave(vehicles=5),
            ota_pb2.Rollout.Wave(share_percent=10),
            ota_pb2.Rollout.Wave(share_percent=100),
        ],
        success_percent=95,
        error_percent=0,
        max_per_minute=7,
        start_at=1_801_414_800,
        end_at=1_801_440_000,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"waves": "1%,,100%"}, "--waves: '' is neither a share nor a number"),
        ({"waves": "0,100%"}, "--waves: '0' is neither"),
        ({"waves": "x%"}, "--waves: 'x%' is not a share"),
        ({"success": "most"}, "--success: 'most' is not a share"),
        ({"errors": "few"}, "--errors: 'few' is not a share"),
        ({"start": "tomorrow"}, "--start: 'tomorrow' is not a time"),
        ({"end": "2027-13-01"}, "--end: '2027-13-01' is not a time"),
    ],
)
def test_an_option_that_cannot_be_read_is_named(options: dict[str, str | int], words: str) -> None:
    with pytest.raises(WrongUsage) as refused:
        parse(**options)
    assert words in str(refused.value)


def test_a_paused_rollout_is_shown_with_its_reason() -> None:
    rules = ota_pb2.Rollout(success_percent=95, error_percent=5, max_per_minute=3, end_at=1_801_440_000)
    waves = [
        ota_pb2.RolloutStatus.WaveCounts(jobs=10, succeeded=8, failed=2),
        ota_pb2.RolloutStatus.WaveCounts(jobs=90, held=90),
    ]
    status = ota_pb2.RolloutStatus(
        rules=rules, open_waves=1, paused="errors", paused_reason="2 of 10\x1b[2J", waves=waves
    )
    lines = list(rollout_lines(ota_pb2.Campaign(rollout=status)))
    assert lines[0] == (
        "roll-out: 1 of 2 waves open; next wave at 95 % SUCCEEDED; 5 % may fail; 3 a minute; until 2027-02-01 00:00 UTC"
    )
    assert lines[1].startswith("roll-out PAUSED (errors): 2 of 10") and "\x1b" not in lines[1]
    assert lines[3].startswith("wave 2 (closed): 90 jobs, 90 not offered yet")
    assert list(rollout_lines(ota_pb2.Campaign())) == []
