"""The page as the driver meets it, in a real browser against a real server: asked, answered, shown, and never out of touch silently."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from otabench.bench.gateway.hmi.model import Decision, EcuView, HistoryEntry
from otabench.proto.job_states import FINAL_STATES, JobState
from tests.bench.gateway.hmi.browser import console_errors, requested_hosts, resize, start_browser
from tests.bench.gateway.hmi.memory_model import IDLE_ECUS, OFFER, VIN, MemoryModel
from tests.bench.gateway.hmi.serving import serving

pytestmark = pytest.mark.browser

S = JobState
T = TypeVar("T")
KIB = 1024


def utc(year: int, month: int, day: int, hour: int, minute: int) -> float:
    """Return a moment in UTC as seconds since 1970."""
    return datetime(year, month, day, hour, minute, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chrome = start_browser(tmp_path_factory.mktemp("browser"))
    yield chrome
    chrome.quit()


class Display:
    """One model, served, and the page that shows it."""

    def __init__(self, browser: Chrome, model: MemoryModel, url: str) -> None:
        self.browser, self.model, self.url = browser, model, url

    def find(self, testid: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, f"[data-testid='{testid}']")

    def has(self, testid: str) -> bool:
        return bool(self.browser.find_elements(By.CSS_SELECTOR, f"[data-testid='{testid}']"))

    def wait(self, condition: Callable[[], T]) -> T:
        ignored = (NoSuchElementException, StaleElementReferenceException)
        return WebDriverWait(self.browser, 30, 0.05, ignored).until(lambda _: condition())

    def wait_for_state(self, state: str) -> None:
        self.wait(lambda: self.find("job-state").get_attribute("data-state") == state)

    def row(self, ecu: str, part: str) -> str:
        return self.find(f"ecu-row-{ecu}").find_element(By.CSS_SELECTOR, f"[data-testid='{part}']").text

    def focused(self) -> str:
        return str(self.browser.switch_to.active_element.get_attribute("id"))

    def script(self, source: str) -> Any:
        return self.browser.execute_script(source)


@pytest.fixture(scope="module")
def page(browser: Chrome) -> Iterator[Display]:
    model = MemoryModel()
    with serving(model) as url:
        browser.get(url)
        yield Display(browser, model, url)


@pytest.fixture
def display(page: Display) -> Display:
    """The idle page, loaded once for all tests: a kernel in a kernel takes its time over every page load."""
    page.model.reset()
    resize(page.browser, 1280, 800)
    page.wait_for_state("IDLE")
    console_errors(page.browser)  # a refusal of the test before is not this test's error
    return page


def test_update_from_offer_to_success(display: Display) -> None:
    model = display.model
    assert display.find("vin").text == VIN
    assert "up to date" in display.find("job-state").text.lower()
    assert display.row("engine", "versions").endswith("1.0.0")

    # given an offer
    model.show(**{**OFFER, "job_id": "job-put-away"})
    display.wait_for_state("WAITING_FOR_APPROVAL")
    page = display.browser.find_element(By.ID, "job").text
    assert "Autumn release" in page
    assert "190 KiB" in page
    assert "about 2 min" in page
    assert display.find("notes").text == OFFER["release_notes"]
    for ecu, hardware_id in (("engine", "engine-mcu-a"), ("adas", "adas-soc-b")):
        assert hardware_id in display.find(f"ecu-row-{ecu}").text
        assert display.row(ecu, "versions").split() == ["from", "version", "1.0.0", "to", "version", "2.0.0"]

    # when the driver installs it
    display.find("install").click()
    display.wait_for_state("DOWNLOADING")
    assert model.decisions == [("job-put-away", Decision.INSTALL)]
    assert not display.has("install")
    model.show(download_done_bytes=97_280)
    display.wait(lambda: display.find("overall-percent").text == "50")

    # then progress is seen per control unit
    model.show(job_state=S.INSTALLING)
    model.ecu("engine", phase="transferring", bytes_done=48 * KIB, bytes_total=64 * KIB, bytes_per_s=27.5 * KIB)
    model.ecu("adas", phase="waiting")
    display.wait_for_state("INSTALLING")
    display.wait(lambda: display.row("engine", "percent") == "75 %")
    assert display.row("engine", "phase") == "Transferring"
    assert display.row("engine", "bytes") == "48 KiB of 64 KiB"
    assert display.row("engine", "rate") == "27.5 KiB/s"
    bar = display.find("ecu-row-engine").find_element(By.TAG_NAME, "progress")
    assert (bar.aria_role, bar.accessible_name) == ("progressbar", "engine: Transferring")
    assert display.row("adas", "phase") == "Waiting"
    here = display.find("steps").find_element(By.CSS_SELECTOR, "[aria-current=step]")
    assert here.get_attribute("data-step") == "INSTALLING"

    # and the result
    for state in (S.ACTIVATING, S.VERIFYING, S.SUCCEEDED):
        model.show(job_state=state)
        display.wait_for_state(state)
    model.ecu("engine", phase="confirmed", slot_state="CONFIRMED")
    display.wait(lambda: display.row("engine", "phase") == "Confirmed")
    assert display.find("result").get_attribute("data-state") == "SUCCEEDED"
    assert "Update installed" in display.find("result").text
    assert display.row("engine", "slot-state") == "CONFIRMED"

    # and nothing went wrong or elsewhere
    assert console_errors(display.browser) == []
    assert requested_hosts(display.browser) == {urlsplit(display.url).netloc}
    loaded = display.script(
        "return performance.getEntries().map(entry => entry.name).filter(name => name.includes('://'))"
    )
    assert len(loaded) > 10
    assert {urlsplit(name).netloc for name in loaded} == {urlsplit(display.url).netloc}

    # and the result can be put away
    display.find("close-result").click()
    display.wait_for_state("IDLE")
    assert display.row("engine", "versions").endswith("2.0.0")


OUTCOMES = [
    (S.VERIFYING, S.ROLLED_BACK, ["rolled back", "Your car runs the previous version"]),
    (S.INSTALLING, S.FAILED, ["failed", "Nothing has changed", "runs the previous version"]),
    (S.VERIFYING, S.FAILED, ["failed", "not every control unit could be brought back"]),
    (S.WAITING_FOR_APPROVAL, S.REJECTED, ["not installed", "declined"]),
    (S.DOWNLOADING, S.CANCELED, ["canceled", "withdrawn"]),
    (S.DOWNLOADING, S.TIMED_OUT, ["timed out", "not finished in time"]),
]


def test_every_other_end_says_what_happened_and_why(display: Display) -> None:
    assert {end for _, end, _ in OUTCOMES} | {S.SUCCEEDED} == FINAL_STATES
    for number, (before, end, sentences) in enumerate(OUTCOMES):
        display.model.show(**{**OFFER, "job_id": f"job-{end}-{number}", "job_state": before, "reason": ""})
        display.wait_for_state(before)
        display.model.show(job_state=end, reason=f"reason {number}: engine fell back to 1.0.0")
        display.wait_for_state(end)
        told = display.find("result").text
        for sentence in sentences:
            assert sentence in told, (end, told)
        assert display.find("reason").text.endswith(f"reason {number}: engine fell back to 1.0.0")
        if end is not S.FAILED:
            assert "2.0.0" not in display.row("engine", "versions")
        stopped = display.find("steps").find_element(By.CSS_SELECTOR, "[aria-current=step]")
        assert stopped.get_attribute("data-step") == before
    assert console_errors(display.browser) == []


def test_decline_asks_once_more(display: Display) -> None:
    display.model.show(**OFFER)
    display.wait_for_state("WAITING_FOR_APPROVAL")
    dialog = display.browser.find_element(By.ID, "decline-dialog")

    for way_out in ("button", "escape"):
        display.find("decline").click()
        display.wait(dialog.is_displayed)
        if way_out == "button":
            display.find("decline-cancel").click()
        else:
            ActionChains(display.browser).send_keys(Keys.ESCAPE).perform()
        display.wait(lambda: not dialog.is_displayed())
        assert display.focused() == "decline"
    assert display.model.decisions == []

    display.find("decline").click()
    display.wait(dialog.is_displayed)
    display.find("decline-confirm").click()
    display.wait_for_state("REJECTED")
    assert display.model.decisions == [("job-1", Decision.DECLINE)]


def test_question_goes_away_with_the_offer(display: Display) -> None:
    display.model.show(**OFFER)
    display.wait_for_state("WAITING_FOR_APPROVAL")
    display.find("decline").click()
    dialog = display.browser.find_element(By.ID, "decline-dialog")
    display.wait(dialog.is_displayed)
    display.model.show(job_state=S.CANCELED, reason="withdrawn by the operator")
    display.wait_for_state("CANCELED")
    assert not dialog.is_displayed()
    assert display.model.decisions == []


def test_later_shows_when_it_asks_again_and_can_still_be_installed(display: Display) -> None:
    display.model.show(**OFFER)
    display.wait_for_state("WAITING_FOR_APPROVAL")
    display.find("later").click()
    display.wait(lambda: display.has("deferred"))
    assert display.find("deferred").text.startswith("You will be asked again at ")
    assert not display.has("later")
    display.wait(lambda: display.find("install").is_enabled())
    display.find("install").click()
    display.wait_for_state("DOWNLOADING")
    assert display.model.decisions == [("job-1", Decision.LATER), ("job-1", Decision.INSTALL)]


def test_refusal_is_shown_and_the_driver_may_try_again(display: Display) -> None:
    display.model.show(**OFFER)
    display.wait_for_state("WAITING_FOR_APPROVAL")
    display.model.refuse_with = "The vehicle is moving: park it, then try again."
    display.find("install").click()
    display.wait(lambda: display.find("decision-error").text == display.model.refuse_with)
    assert display.find("decision-error").aria_role == "alert"
    assert all(display.find(name).is_enabled() for name in ("install", "later", "decline"))
    assert display.focused() == "install"

    display.model.refuse_with = ""
    display.find("install").click()
    display.wait_for_state("DOWNLOADING")
    assert not display.has("decision-error")


def test_keyboard_alone_installs_and_keeps_its_place(display: Display) -> None:
    display.model.show(**OFFER)
    display.wait_for_state("WAITING_FOR_APPROVAL")
    keys = ActionChains(display.browser)
    for _ in range(6):
        if display.focused() == "install":
            break
        keys.send_keys(Keys.TAB).perform()
    assert display.focused() == "install"
    display.model.show(cloud_reachable=False)  # a new state does not take the focus away
    display.wait(lambda: "not reachable" in display.find("cloud-link").text)
    assert display.focused() == "install"
    keys.send_keys(Keys.ENTER).perform()
    display.wait_for_state("DOWNLOADING")
    assert display.focused() == "job-title"
    announcer = display.browser.find_element(By.ID, "announcer")
    assert announcer.get_attribute("textContent") == "Downloading the update"
    assert announcer.get_attribute("aria-live") == "polite"


def test_up_to_date_is_said_only_when_it_is_known(display: Display) -> None:
    assert "up to date" in display.find("job-state").text.lower()
    display.model.show(cloud_reachable=False)
    display.wait(lambda: "No update waiting" in display.browser.find_element(By.ID, "job").text)
    assert "up to date" not in display.browser.find_element(By.ID, "job").text.lower()
    display.model.show(cloud_reachable=True, reason="the cloud refuses an update: this vehicle is not registered")
    display.wait(lambda: "not registered" in display.find("reason").text)
    assert "No update waiting" in display.browser.find_element(By.ID, "job").text
    display.model.show(reason="")
    display.model.ecu("adas", from_version="", slot_state="")
    display.wait(lambda: "Not all control units" in display.browser.find_element(By.ID, "job").text)


def test_history_says_what_and_why(display: Display) -> None:
    undone = HistoryEntry(
        job_id="job-3",
        campaign_name="Release: one",
        state=S.ROLLED_BACK,
        ended_at=utc(2026, 11, 2, 8, 14),
        reason="engine: 2.0.0 did not start: FAILED (3 boots)",
    )
    done = HistoryEntry(
        job_id="job-2", campaign_name="Summer release", state=S.SUCCEEDED, ended_at=utc(2026, 9, 14, 17, 40)
    )
    unnamed = HistoryEntry(job_id="job-1", state=S.TIMED_OUT, ended_at=utc(2026, 1, 1, 0, 0))
    display.model.show(history=(undone, done, unnamed))
    display.wait(lambda: display.has("history"))
    first, second, third = (line.text for line in display.find("history").find_elements(By.TAG_NAME, "li"))
    assert first.splitlines() == [
        "Release: one",
        "Rolled back",
        "2026-11-02 08:14 UTC · engine: 2.0.0 did not start: FAILED (3 boots)",
    ]
    assert second.splitlines() == ["Summer release", "Succeeded", "2026-09-14 17:40 UTC"]
    assert third.splitlines() == ["job-1", "Timed out", "2026-01-01 00:00 UTC"]


def test_text_from_the_cloud_stays_text(display: Display) -> None:
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\nsecond line"
    ecus = (EcuView(ecu="<i>'x\"", hardware_id=attack, from_version=attack, to_version="2", detail=attack),)
    entry = HistoryEntry(job_id=attack, campaign_name=attack, state=S.FAILED, ended_at=0.0, reason=attack)
    hostile = {"campaign_name": attack, "release_notes": attack, "reason": attack, "ecus": ecus, "history": (entry,)}
    for state in (S.WAITING_FOR_APPROVAL, S.INSTALLING, S.FAILED):
        display.model.show(**{**OFFER, **hostile, "job_state": state})
        display.wait_for_state(state)
        assert display.browser.find_elements(By.CSS_SELECTOR, "main img[src=x], main script") == []
        assert display.browser.title == "Software update"
    display.model.show(job_state=S.WAITING_FOR_APPROVAL)
    display.wait_for_state("WAITING_FOR_APPROVAL")
    assert display.find("notes").text == attack
    assert console_errors(display.browser) == []


def test_long_texts_and_many_units_fit_a_car_display_and_a_narrow_window(display: Display) -> None:
    long_words = {
        "campaign_name": "Autumn-release-with-a-name-that-never-ends-" * 3,
        "release_notes": "A long line of release notes that says much. " * 60,
        "reason": "engine: 31 01 0202 check memory: " + "0123456789abcdef" * 8,
        "history": (
            HistoryEntry(
                job_id="job-1",
                campaign_name="Autumn release",
                state=S.SUCCEEDED,
                ended_at=utc(2026, 11, 23, 12, 0),
            ),
        )
        * 30,
    }
    busy = {
        "phase": "transferring",
        "bytes_done": 5,
        "bytes_total": 10_000_000,
        "bytes_per_s": 28e3,
        "detail": "x" * 90,
    }
    many = tuple(
        ecu.model_copy(update={**busy, "ecu": f"{ecu.ecu}{n}", "to_version": "2.0.0"})
        for n in range(3)
        for ecu in IDLE_ECUS
    )
    for width, height in ((1280, 800), (420, 800)):
        resize(display.browser, width, height)
        for state in (S.WAITING_FOR_APPROVAL, S.INSTALLING, S.ROLLED_BACK):  # offer, on the way, result
            display.model.show(**{**OFFER, **long_words, "ecus": many, "job_state": state})
            display.wait_for_state(state)
            page_width, page_height = display.script(
                "return [document.documentElement.scrollWidth, document.documentElement.scrollHeight]"
            )
            assert page_width <= width, state
            assert width < 1000 or page_height <= height, state
            for button in display.browser.find_elements(By.CSS_SELECTOR, "main button"):
                assert button.size["height"] >= 60, state
                if width > 1000 or state is S.WAITING_FOR_APPROVAL:
                    visible = display.script(
                        f"return document.getElementById('{button.get_attribute('id')}').getBoundingClientRect().bottom"
                    )
                    assert visible <= height, state
    assert console_errors(display.browser) == []


def test_lost_gateway_is_seen_and_its_return_shows_the_new_state(browser: Chrome) -> None:
    requested_hosts(browser)
    with serving(MemoryModel(**{**OFFER, "seq": 500})) as url:
        resize(browser, 1280, 800)
        browser.get(url)
        before = Display(browser, MemoryModel(), url)
        before.wait_for_state("WAITING_FOR_APPROVAL")
        assert not before.find("lost").is_displayed()
    before.wait(before.find("lost").is_displayed)
    assert "Connection to the gateway lost" in before.find("lost").text
    assert not before.find("install").is_enabled()

    # the gateway comes back and counts from one again
    with serving(MemoryModel(**{**OFFER, "job_state": S.INSTALLING}), port=int(url.rpartition(":")[2])):
        before.wait_for_state("INSTALLING")
        before.wait(lambda: not before.find("lost").is_displayed())
    assert requested_hosts(browser) == {urlsplit(url).netloc}
