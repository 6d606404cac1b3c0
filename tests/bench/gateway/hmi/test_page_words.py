"""What the page says: true in every state and after every end, in a driver's words, and announced sparingly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import cycle, product
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from otabench.bench.gateway.hmi.model import EcuView, Ending, HistoryEntry, Obstacle, ObstacleKind
from otabench.proto.job_states import FINAL_STATES, JobState
from tests.bench.gateway.hmi.browser import console_errors
from tests.bench.gateway.hmi.display import Display
from tests.bench.gateway.hmi.memory_model import OFFER

pytestmark = pytest.mark.browser

S, E = JobState, Ending


def utc(year: int, month: int, day: int, hour: int, minute: int) -> float:
    """Return a moment in UTC as seconds since 1970."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()


OUTCOMES = [
    (S.VERIFYING, S.ROLLED_BACK, E.UNDONE, ["rolled back", "Your vehicle runs the previous version"]),
    (S.INSTALLING, S.FAILED, E.UNCHANGED, ["failed", "Nothing has changed", "runs the previous version"]),
    (S.VERIFYING, S.FAILED, E.NOT_BROUGHT_BACK, ["failed", "not every control unit could be brought back"]),
    (S.WAITING_FOR_APPROVAL, S.REJECTED, E.DECLINED, ["not installed", "You declined"]),
    (S.CONFIRMING, S.REJECTED, E.REFUSED, ["not installed", "did not pass the checks"]),
    (S.DOWNLOADING, S.CANCELED, E.WITHDRAWN, ["canceled", "withdrawn"]),
    (S.DOWNLOADING, S.TIMED_OUT, E.OUT_OF_TIME, ["timed out", "not finished in time"]),
]


def test_every_other_end_says_what_happened_and_why(display: Display) -> None:
    assert {end for _, end, _, _ in OUTCOMES} | {S.SUCCEEDED} == FINAL_STATES
    assert {ending for _, _, ending, _ in OUTCOMES} | {E.INSTALLED} == set(Ending)
    display.workshop(on=True)
    for number, (before, end, ending, sentences) in enumerate(OUTCOMES):
        display.model.show(**{**OFFER, "job_id": f"job-{end}-{number}", "job_state": before})
        display.wait_for_state(before)
        display.model.show(job_state=end, ending=ending, reason=f"reason {number}: engine fell back to 1.0.0")
        display.wait_for_state(end)
        told = display.find("result").text
        for sentence in sentences:
            assert sentence in told, (end, told)
        assert display.find("reason").text.endswith(f"reason {number}: engine fell back to 1.0.0")
        assert "2.0.0" not in display.row("engine", "versions")
        stopped = display.find("steps").find_element(By.CSS_SELECTOR, "[aria-current=step]")
        assert stopped.get_attribute("data-step") == before
    assert console_errors(display.browser) == []


def ended(ending: Ending, state: JobState) -> HistoryEntry:
    """Return a job in the history."""
    return HistoryEntry(job_id="job-0", campaign_name="Autumn release", state=state, ending=ending, ended_at=0.0)


@pytest.mark.parametrize(("end", "ending"), [(end, ending) for _, end, ending, _ in OUTCOMES])
def test_a_closed_result_does_not_become_up_to_date(display: Display, end: JobState, ending: Ending) -> None:
    display.model.show(**{**OFFER, "job_id": f"job-closed-{ending}", "job_state": end, "ending": ending})
    display.wait_for_state(end)
    display.find("close-result").click()
    display.wait_for_state("IDLE")
    closed = display.job_text()
    assert "up to date" not in closed.lower()
    assert "last update" in closed
    assert ("Contact your workshop" in closed) == (ending is E.NOT_BROUGHT_BACK)
    assert "tone-good" not in str(display.find("job-state").get_attribute("class"))

    # and a gateway that was restarted shows the same from its history
    display.model.show(job_id=None, job_state=None, ending=None, history=(ended(ending, end),))
    display.wait(lambda: display.job_text() == closed)

    # until an update succeeds
    display.model.show(history=(ended(E.INSTALLED, S.SUCCEEDED), ended(ending, end)))
    display.wait(lambda: "Your vehicle is up to date" in display.job_text())


def test_an_update_that_is_undone_is_not_shown_as_going_forward(display: Display) -> None:
    display.model.show(**{**OFFER, "job_state": S.VERIFYING, "progress_percent": 90})
    display.wait_for_state("VERIFYING")
    assert display.find("overall-percent").text == "90"
    display.model.show(is_reverting=True, reason="adas: 2.0.0 did not come up")
    display.wait(lambda: "Undoing the update" in display.job_text())
    assert not display.has("overall-percent")
    assert "2.0.0" not in display.row("adas", "versions")
    assert display.script("return document.getElementById('announcer').textContent") == "Undoing the update"


def test_up_to_date_is_said_only_when_it_is_known(display: Display) -> None:
    assert "up to date" in display.find("job-state").text.lower()
    display.model.show(cloud_reachable=False)
    display.wait(lambda: "No update waiting" in display.job_text())
    assert "up to date" not in display.job_text().lower()
    display.model.show(cloud_reachable=None)
    display.wait(lambda: display.find("cloud-link").text == "Cloud unknown")
    assert "up to date" not in display.job_text().lower()
    display.workshop(on=True)
    refused = "the cloud refuses an update: this vehicle is not registered"
    display.model.show(cloud_reachable=True, obstacle=Obstacle(kind=ObstacleKind.CLOUD_REFUSES, text=refused))
    display.wait(lambda: "not registered" in display.find("reason").text)
    assert "No update waiting" in display.job_text()
    display.model.show(obstacle=None)
    display.model.ecu("adas", version="", slot_state="")
    display.wait(lambda: "have not reported their version" in display.job_text())


def test_history_says_what_and_why(display: Display) -> None:
    undone = HistoryEntry(
        job_id="job-3",
        campaign_name="Release: one",
        state=S.ROLLED_BACK,
        ending=E.UNDONE,
        ended_at=utc(2026, 11, 2, 8, 14),
        reason="engine: 2.0.0 did not start: FAILED (3 boots)",
    )
    done = HistoryEntry(
        job_id="job-2",
        campaign_name="Summer release",
        state=S.SUCCEEDED,
        ending=E.INSTALLED,
        ended_at=utc(2026, 9, 14, 17, 40),
    )
    unnamed = HistoryEntry(job_id="job-1", state=S.TIMED_OUT, ending=E.OUT_OF_TIME, ended_at=utc(2026, 1, 1, 0, 0))
    display.model.show(history=(undone, done, unnamed))
    display.wait(lambda: display.has("history"))

    def lines() -> list[list[str]]:
        return [line.text.splitlines() for line in display.find("history").find_elements(By.TAG_NAME, "li")]

    assert lines() == [
        ["Release: one", "Rolled back", "2 Nov 2026, 08:14 UTC"],
        ["Summer release", "Succeeded", "14 Sept 2026, 17:40 UTC"],
        ["Unnamed update", "Timed out", "1 Jan 2026, 00:00 UTC"],
    ]
    # elsewhere the same moments, in the zone of the display
    display.browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "Europe/Berlin"})
    display.model.show(history=(undone, done))
    display.wait(lambda: [line[2] for line in lines()] == ["2 Nov 2026, 09:14 CET", "14 Sept 2026, 19:40 CEST"])
    display.browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
    display.model.show(history=(undone, done, unnamed))
    display.workshop(on=True)
    display.wait(lambda: "job-1" in display.find("history").text)
    assert [line[3] for line in lines()] == [
        "2026-11-02 08:14 UTC · job-3 · engine: 2.0.0 did not start: FAILED (3 boots)",
        "2026-09-14 17:40 UTC · job-2",
        "2026-01-01 00:00 UTC · job-1",
    ]


NOT_FOR_A_DRIVER = (
    r"(?i)\b(CONFIRMED|TRIAL|STAGED|INVALID|EMPTY|slot|NRC|UDS|ECU|manifest|adas|mcu|soc|job-\S+"
    r"|[0-9A-F]{2} [0-9A-F]{2}( [0-9A-F]{4})?)\b"
)
REASON = (
    "adas: 31 01 0202 check memory: NRC 72 generalProgrammingFailure: refused; "
    "it runs 1.0.0 (CONFIRMED), the other slot is TRIAL"
)


def units(count: int, **changes: Any) -> tuple[EcuView, ...]:
    """Return that many control units, as an update leaves them in the middle of it."""
    names = ["adas", "engine", "door", "brake", "steering", "radar", "battery", "climate"][:count]
    return tuple(
        EcuView(
            ecu=name,
            hardware_id=f"{name}-mcu-a",
            version="1.0.0",
            from_version="1.0.0",
            to_version="2.0.0",
            slot_state="CONFIRMED",
            detail="attempt 1 of 3 failed: adas: 36 0A transfer data: no answer",
            **changes,
        )
        for name in names
    )


def every_state() -> Iterator[dict[str, Any]]:
    """Yield everything that the page may have to show: each way a job goes and ends, and a vehicle without a job."""
    hindered = Obstacle(kind=ObstacleKind.ECU_SILENT, text="adas: 22 F18C serial number: no answer")
    refused = Obstacle(kind=ObstacleKind.CLOUD_REFUSES, text="the cloud refuses this vehicle: unknown ECU adas")
    no_job = {"job_id": None, "job_state": None, "ending": None, "reason": ""}
    phases = {
        S.INSTALLING: ["waiting", "erasing", "transferring", "checking", "staged", "failed"],
        S.ACTIVATING: ["activating"],
        S.VERIFYING: ["trial", "soaking", "confirmed", "reverted", "failed"],
    }
    for state in S:
        if state not in FINAL_STATES:
            for phase, reverting in product(phases.get(state, [""]), (False, True)):
                yield {**OFFER, "job_state": state, "reason": REASON, "is_reverting": reverting, "phase": phase}
            yield {**OFFER, "job_state": state, "obstacle": hindered}
    for _, end, ending, _ in [*OUTCOMES, (S.VERIFYING, S.SUCCEEDED, E.INSTALLED, [])]:
        yield {**OFFER, "job_state": end, "ending": ending, "reason": REASON, "history": (ended(ending, end),)}
        yield {**no_job, "history": (ended(ending, end).model_copy(update={"campaign_name": "", "reason": REASON}),)}
    for obstacle, reachable in product((None, hindered, refused), (None, False, True)):
        yield {**no_job, "history": (), "obstacle": obstacle, "cloud_reachable": reachable}


def test_a_driver_reads_no_words_of_the_workshop(display: Display) -> None:
    states = list(every_state())
    assert len(states) > 40
    for state, count in zip(states, cycle((8, 1, 2))):
        changes = {"obstacle": None, **state}
        changes["ecus"] = units(count, phase=changes.pop("phase", ""))
        seq = display.model.show(**changes).seq
        display.wait(lambda seq=seq: display.script("return Number(document.body.dataset.seq)") >= seq)  # type: ignore[misc]
        text = display.text()
        found = re.search(NOT_FOR_A_DRIVER, text)
        assert found is None, (found, changes)
        assert "undefined" not in text and "null" not in text and "_" not in text, changes
    assert console_errors(display.browser) == []


def test_every_part_that_scrolls_can_be_reached_by_keyboard(display: Display) -> None:
    """axe's rule ``scrollable-region-focusable``: what scrolls can be focused itself, or something in it can."""
    unreachable = """
        return [...document.querySelectorAll('*')]
          .filter(e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowY) && e.scrollHeight > e.clientHeight)
          .filter(e => e.tabIndex < 0 && ![...e.querySelectorAll('*')].some(inner => inner.tabIndex >= 0))
          .map(e => `${e.tagName} ${e.id} ${e.className}`)
    """
    scrolling = "return [...document.querySelectorAll('[tabindex=\"0\"]')].map(e => e.id)"
    past = tuple(ended(E.INSTALLED, S.SUCCEEDED) for _ in range(20))
    notes = "A long line of release notes. " * 200
    for count, state in product((1, 2, 8), (None, S.WAITING_FOR_APPROVAL, S.INSTALLING, S.SUCCEEDED)):
        job = {**OFFER, "job_state": state, "job_id": state and "job-1", "release_notes": notes}
        ending = E.INSTALLED if state is S.SUCCEEDED else None
        display.model.show(**{**job, "ending": ending, "ecus": units(count, phase="staged"), "history": past})
        display.wait_for_state(state or "IDLE")
        display.wait(lambda: display.script(unreachable) == [])
        if count == 8:
            display.wait(lambda: {"ecus", "history-list"} <= set(display.script(scrolling)))
    display.model.show(ecus=units(1), history=())
    display.wait(lambda: "ecus" not in display.script(scrolling))


def test_a_screen_reader_announces_steps_and_quarters_only(display: Display) -> None:
    display.script("""
        window.announced = [];
        const region = document.getElementById('announcer');
        const all = {childList: true, characterData: true, subtree: true};
        new MutationObserver(() => window.announced.push(region.textContent)).observe(region, all);
    """)
    course = {
        S.DOWNLOADING: [1, 3, 5],
        S.INSTALLING: [5, 20, 24, 25, 26, 40, 49, 50, 51, 74, 75, 76, 80],
        S.ACTIVATING: [80, 83, 85],
        S.VERIFYING: [85, 90, 99],
    }
    for state, percents in course.items():
        for percent in percents:
            shown = {"job_state": state, "progress_percent": percent, "ecus": units(8, phase="staged")}
            display.model.show(**{**OFFER, **shown})
            display.wait(lambda p=percent: display.find("overall-percent").text == str(p))  # type: ignore[misc]
            display.wait_for_state(state)
    display.model.show(job_state=S.SUCCEEDED, ending=E.INSTALLED, progress_percent=100)
    display.wait_for_state("SUCCEEDED")
    assert display.script("return window.announced") == [
        "Downloading the update",
        "Installing the update",
        "Installing the update: 25 percent",
        "Installing the update: 50 percent",
        "Installing the update: 75 percent",
        "Activating the new software: 75 percent",
        "Verifying the new software: 75 percent",
        "Update installed",
    ]
