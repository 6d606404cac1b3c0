"""The page as the driver meets it, in a real browser against a real server: asked, answered, shown, and never out of touch silently."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from otabench.bench.gateway.hmi.model import ConditionView, Decision, EcuView, Ending, HistoryEntry
from otabench.proto.conditions import Condition, Quantity, Sign
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.browser import console_errors, requested_hosts, resize
from tests.bench.gateway.hmi.display import Display
from tests.bench.gateway.hmi.memory_model import IDLE_ECUS, OFFER, VIN, MemoryModel
from tests.bench.gateway.hmi.serving import CODE, serving

pytestmark = pytest.mark.browser

S, E = JobState, Ending
KIB = 1024


@pytest.mark.clause("R156 7.2.2.2", "R156 7.2.2.4")
def test_update_from_offer_to_success(display: Display) -> None:
    model = display.model
    assert display.find("vin").text == VIN
    assert "up to date" in display.find("job-state").text.lower()
    assert display.row("engine", "versions").endswith("1.0.0")

    # given an offer
    model.show(**{**OFFER, "job_id": "job-put-away", "stops_working": True, "has_no_way_back": True})
    display.wait_for_state("WAITING_FOR_APPROVAL")
    assert "does not work while this update is installed" in display.find("stops-working").text
    assert "a workshop has to repair" in display.find("no-way-back").text
    page = display.browser.find_element(By.ID, "job").text
    assert "Autumn release" in page
    assert "190 KiB" in page
    assert "1 to 4 min" in page
    assert display.find("notes").text == OFFER["release_notes"]
    for ecu, name in (("engine", "Engine"), ("adas", "Driver assistance")):
        assert name in display.find(f"ecu-row-{ecu}").text
        assert display.row(ecu, "versions").split() == ["from", "version", "1.0.0", "to", "version", "2.0.0"]

    # when the driver installs it
    display.find("install").click()
    display.wait_for_state("DOWNLOADING")
    assert model.decisions == [("job-put-away", Decision.INSTALL)]
    assert not display.has("install")
    model.show(download_done_bytes=97_280, progress_percent=7)
    display.wait(lambda: display.find("overall-percent").text == "7")
    assert "95 KiB of 190 KiB" in display.job_text()

    # then progress is seen per control unit
    model.show(job_state=S.INSTALLING, progress_percent=40)
    model.ecu("engine", phase="transferring", bytes_done=48 * KIB, bytes_total=64 * KIB, bytes_per_s=27.5 * KIB)
    model.ecu("adas", phase="waiting")
    display.wait_for_state("INSTALLING")
    display.wait(lambda: display.row("engine", "percent") == "75 %")
    assert display.find("overall-percent").text == "40"
    assert display.row("engine", "phase") == "Installing"
    assert display.row("engine", "bytes") == "48 KiB of 64 KiB"
    assert display.row("engine", "rate") == "27.5 KiB/s"
    bar = display.find("ecu-row-engine").find_element(By.TAG_NAME, "progress")
    assert (bar.aria_role, bar.accessible_name) == ("progressbar", "Engine: Installing")
    assert display.row("adas", "phase") == "Waiting"
    here = display.find("steps").find_element(By.CSS_SELECTOR, "[aria-current=step]")
    assert here.get_attribute("data-step") == "INSTALLING"

    # and the result
    for state in (S.ACTIVATING, S.VERIFYING):
        model.show(job_state=state)
        display.wait_for_state(state)
    model.show(job_state=S.SUCCEEDED, ending=Ending.INSTALLED)
    display.wait_for_state(S.SUCCEEDED)
    model.ecu("engine", phase="confirmed", slot_state="CONFIRMED", version="2.0.0")
    display.wait(lambda: display.row("engine", "phase") == "Updated")
    assert display.find("result").get_attribute("data-state") == "SUCCEEDED"
    assert "Update installed" in display.find("result").text
    display.workshop(on=True)
    display.wait(lambda: display.has("workshop-facts"))
    facts = " ".join(display.row("engine", "workshop-facts").split())
    assert facts == "ECU engine Hardware engine-mcu-a Slot CONFIRMED Phase confirmed"

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
    # a time names its zone: 2100-01-01 00:00 UTC
    assert display.find("deferred").text == "You will be asked again at Fri 1 Jan, 00:00 UTC."
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

    # the words of the workshop stay with those who ask by HTTP
    display.model.refuse_detail = "it is FAILED now: adas: 31 01 0203: NRC 22"
    display.find("install").click()
    display.wait(lambda: display.find("install").is_enabled() and display.has("decision-error"))
    assert display.find("decision-error").text == display.model.refuse_with

    display.model.refuse_with = display.model.refuse_detail = ""
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


def test_text_from_the_cloud_stays_text(display: Display) -> None:
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\nsecond line"
    ecus = (
        EcuView(ecu="<i>'x\"", hardware_id=attack, from_version=attack, to_version="2", detail=attack, evidence=attack),
    )
    failed: dict[str, Any] = {"state": S.FAILED, "ending": E.UNCHANGED, "ended_at": 0.0}
    entry = HistoryEntry(job_id=attack, campaign_name=attack, reason=attack, **failed)
    display.workshop(on=True)
    hostile = {"campaign_name": attack, "release_notes": attack, "reason": attack, "ecus": ecus, "history": (entry,)}
    for state in (S.WAITING_FOR_APPROVAL, S.INSTALLING, S.FAILED):
        ending = E.UNCHANGED if state is S.FAILED else None
        display.model.show(**{**OFFER, **hostile, "job_state": state, "ending": ending})
        display.wait_for_state(state)
        assert display.browser.find_elements(By.CSS_SELECTOR, "main img[src=x], main script") == []
        assert display.browser.title == "Software update"
    display.model.show(job_state=S.WAITING_FOR_APPROVAL, ending=None)
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
                ending=E.INSTALLED,
                ended_at=1_795_435_200.0,
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
    for width, height, workshop in ((1280, 800, False), (1280, 800, True), (420, 800, True)):
        resize(display.browser, width, height)
        display.workshop(on=workshop)
        for state in (S.WAITING_FOR_APPROVAL, S.INSTALLING, S.ROLLED_BACK):  # offer, on the way, result
            ending = E.UNDONE if state is S.ROLLED_BACK else None
            display.model.show(**{**OFFER, **long_words, "ecus": many, "job_state": state, "ending": ending})
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


def test_a_display_is_paired_by_the_code_of_the_bench(browser: Chrome) -> None:
    with serving(MemoryModel(**OFFER)) as url:
        browser.get(url)  # cookies have the port in their names: this one is not paired
        shown = Display(browser, MemoryModel(), url)
        assert VIN not in browser.page_source
        shown.find("code").send_keys("K7QM-2XFD-9RTP-AB3D", Keys.ENTER)
        shown.wait(lambda: "not the pairing code" in shown.find("error").text)
        shown.find("code").clear()
        shown.find("code").send_keys(CODE.lower(), Keys.ENTER)
        shown.wait_for_state("WAITING_FOR_APPROVAL")
        assert shown.find("vin").text == VIN
        assert browser.execute_script("return document.cookie") == ""  # HttpOnly
    console_errors(browser)  # the refused code is one


def test_lost_gateway_is_seen_and_its_return_shows_the_new_state(browser: Chrome) -> None:
    browser.get("about:blank")  # the page of the test before still looks for its gateway
    requested_hosts(browser)
    with serving(MemoryModel(**{**OFFER, "seq": 500})) as url:
        resize(browser, 1280, 800)
        browser.get(f"{url}/pair/{CODE}")
        before = Display(browser, MemoryModel(), url)
        before.wait_for_state("WAITING_FOR_APPROVAL")
        assert not before.find("lost").is_displayed()
    before.wait(before.find("lost").is_displayed)
    assert "Connection to the gateway lost" in before.find("lost").text
    assert not before.find("install").is_enabled()
    # nothing is claimed of what lies behind the gateway
    assert before.find("cloud-link").text == "Cloud unknown"
    assert browser.find_elements(By.CSS_SELECTOR, ".topbar .tone-good") == []

    # the gateway comes back and counts from one again
    with serving(MemoryModel(**{**OFFER, "job_state": S.INSTALLING}), port=int(url.rpartition(":")[2])):
        before.wait_for_state("INSTALLING")
        before.wait(lambda: not before.find("lost").is_displayed())
    assert requested_hosts(browser) == {urlsplit(url).netloc}


@pytest.mark.clause("R156 7.2.2.2")
def test_conditions_are_listed_and_install_waits_for_them(display: Display) -> None:
    moving = condition("speed_km_h", "<=", 0, 12.0)
    weak = (condition("supply_v", ">=", 10, 9.46), condition("supply_v", "<=", 16, 9.46))
    closed = condition("doors_open", "=", 0, 0.0)
    display.model.show(**OFFER, conditions=(moving, *weak, closed))
    display.wait_for_state("WAITING_FOR_APPROVAL")
    display.wait(lambda: display.has("conditions"))
    assert [(e.get_attribute("data-quantity"), e.get_attribute("data-met")) for e in condition_rows(display)] == [
        ("speed_km_h", "false"),
        ("supply_v", "false"),
        ("doors_open", "true"),
    ]
    assert [" ".join(row.text.split()) for row in condition_rows(display)] == [
        "The vehicle stands still : not yet Now: 12 km/h. Please stop and park the vehicle.",
        "Battery voltage: 10 to 16 V : not yet Now: 9.5 V. Please charge the battery, or contact your workshop.",
        "The doors are closed : yes",
    ]
    assert not display.find("install").is_enabled()
    assert display.find("install").get_attribute("aria-describedby") == "conditions"
    assert display.find("later").is_enabled()

    display.model.show(conditions=(condition("speed_km_h", "<=", 0, 0.0),))
    display.wait(lambda: display.find("install").is_enabled())
    assert condition_rows(display)[0].get_attribute("data-met") == "true"


def test_a_job_that_waits_for_a_condition_says_what_it_waits_for(display: Display) -> None:
    unread = condition("speed_km_h", "<=", 0, None)
    display.model.show(
        **{**OFFER, "job_state": S.INSTALLING}, conditions=(unread, condition("engine_rpm", "<=", 0, 0.0))
    )
    display.wait_for_state("INSTALLING")
    assert not display.has("paused")
    display.model.show(is_paused=True)
    display.wait(lambda: display.has("paused"))
    assert "Update paused" in display.job_text()
    assert [row.get_attribute("data-quantity") for row in condition_rows(display)] == ["speed_km_h"]
    assert "The vehicle cannot tell at the moment." in condition_rows(display)[0].text
    assert display.script("return document.getElementById('announcer').textContent") == "Update paused"
    assert console_errors(display.browser) == []


def condition(quantity: str, sign: str, limit: float, value: float | None) -> ConditionView:
    is_met = Condition.parse(f"{quantity}{sign}{limit:g}").is_met(value)
    return ConditionView(quantity=Quantity(quantity), sign=Sign(sign), limit=limit, value=value, is_met=is_met)


def condition_rows(display: Display) -> list[WebElement]:
    return list(display.find("conditions").find_elements(By.TAG_NAME, "li"))


@pytest.mark.clause("R156 7.2.2.2")
def test_the_driver_reads_the_campaign_in_the_displays_language(display: Display) -> None:
    texts = {
        "en": DriverTexts(purpose="Important for safety.", unavailable="Lane keeping", instructions="Stay parked."),
        "de": DriverTexts(name="Herbstversion", purpose="Wichtig für die Sicherheit."),
        "ar": DriverTexts(name="إصدار الخريف", release_notes="بدء تشغيل أكثر سلاسة.", purpose="مهم للسلامة."),
    }
    shown = {}
    for language in ("en-US", "de-AT", "ar", "fi"):
        speak(display, language)
        display.model.show(**OFFER, texts=texts)
        display.wait_for_state("WAITING_FOR_APPROVAL")
        display.wait(lambda: display.has("purpose"))
        direction = display.script("return getComputedStyle(document.querySelector('[data-testid=purpose]')).direction")
        shown[language] = (display.find("campaign").text, display.find("purpose").text, direction)
        if language == "en-US":
            assert display.find("unavailable").text == "Lane keeping"
            assert display.find("instructions").text == "Stay parked."
        display.model.reset()
        display.wait_for_state("IDLE")
    speak(display, "en-US")
    assert shown == {
        "en-US": ("Autumn release", "Important for safety.", "ltr"),
        "de-AT": ("Herbstversion", "Wichtig für die Sicherheit.", "ltr"),
        "ar": ("إصدار الخريف", "مهم للسلامة.", "rtl"),
        "fi": ("Autumn release", "Important for safety.", "ltr"),
    }
    display.model.show(**OFFER, texts={})
    display.wait_for_state("WAITING_FOR_APPROVAL")
    assert not display.has("purpose")
    assert display.find("campaign").text == "Autumn release"


def speak(display: Display, language: str) -> None:
    """Let the display have one language."""
    display.script(f"Object.defineProperty(navigator, 'languages', {{value: ['{language}'], configurable: true}})")
