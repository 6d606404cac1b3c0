"""What the driver can choose on the page beside Install now: a time, a reason, cancel; and what a campaign does not allow."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from otabench.bench.gateway.hmi.model import ConditionView, Decision
from otabench.proto.conditions import Quantity, Sign
from otabench.proto.consent import Question
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.browser import console_errors, resize
from tests.bench.gateway.hmi.display import Display
from tests.bench.gateway.hmi.memory_model import OFFER

pytestmark = pytest.mark.browser

FAR = 4_102_444_800.0
"""2100-01-01 00:00 UTC."""


def test_an_update_is_scheduled_for_the_night_or_for_a_time_of_the_vehicle(display: Display) -> None:
    display.model.show(**OFFER, time_zone="Europe/Berlin")
    display.wait_for_state("WAITING_FOR_APPROVAL")
    dialog = display.browser.find_element(By.ID, "schedule-dialog")
    display.find("schedule").click()
    display.wait(dialog.is_displayed)
    assert "Day and time (Europe/Berlin)" in dialog.text
    display.find("schedule-back").click()
    display.wait(lambda: not dialog.is_displayed())
    assert display.model.choices == []

    display.find("schedule").click()
    display.find("schedule-night").click()
    display.wait(lambda: display.has("scheduled"))
    assert display.find("scheduled").text == (
        "The update begins at Fri 1 Jan, 01:00 CET, if the vehicle is ready for it then."
    )
    display.find("schedule").click()
    chosen = display.script("return document.getElementById('schedule-time').value")
    display.find("schedule-confirm").click()
    display.wait(lambda: len(display.model.choices) == 2)
    assert [each.when for each in display.model.choices] == ["night", chosen]
    assert {(each.decision, each.offer) for each in display.model.choices} == {(Decision.SCHEDULE, OFFER["offer"])}
    assert console_errors(display.browser) == []


def test_a_time_that_has_come_waits_for_the_vehicle_and_a_missed_one_is_said(display: Display) -> None:
    display.model.show(**OFFER, start_from=1.0, start_by=FAR)
    display.wait(lambda: display.has("scheduled"))
    assert "It is time, but the vehicle is not ready." in display.find("scheduled").text
    display.model.show(start_from=None, start_by=None, is_appointment_missed=True)
    display.wait(lambda: display.has("missed"))
    assert "Please choose again" in display.find("missed").text


def test_a_declined_update_says_why(display: Display) -> None:
    display.model.show(**OFFER)
    display.wait_for_state("WAITING_FOR_APPROVAL")
    display.find("decline").click()
    display.find("decline-reason").send_keys("I need the car")
    display.find("decline-confirm").click()
    display.wait_for_state("REJECTED")
    assert display.model.choices[-1].reason == "I need the car"


def test_the_driver_may_cancel_until_the_point_of_no_return(display: Display) -> None:
    running = {**OFFER, "question": None, "is_kept_parked": True}
    running["texts"] = {"en": DriverTexts(unavailable="Lane keeping")}
    display.model.show(**{**running, "job_state": JobState.INSTALLING, "can_be_canceled": True})
    display.wait_for_state("INSTALLING")
    assert display.find("unavailable").text == "Lane keeping"
    assert "cannot be driven" in display.find("kept-parked").text
    assert "until the control units restart" in display.find("can-cancel").text
    display.model.show(job_state=JobState.ACTIVATING, can_be_canceled=False)
    display.wait_for_state("ACTIVATING")
    assert not display.has("cancel")
    assert "no longer be canceled" in display.find("no-return").text

    display.model.show(job_state=JobState.INSTALLING, can_be_canceled=True)
    display.wait(lambda: display.has("cancel"))
    display.find("cancel").click()
    display.find("cancel-keep").click()
    display.wait(lambda: display.focused() == "cancel")
    assert display.model.choices == []
    display.find("cancel").click()
    display.find("cancel-confirm").click()
    display.wait_for_state("CANCELED")
    assert [each.decision for each in display.model.choices] == [Decision.CANCEL]


def test_what_a_campaign_does_not_allow_is_not_offered(display: Display) -> None:
    texts = {"en": DriverTexts(obligation="The authority requires it.", contact="Workshop: 0800 123")}
    display.model.show(**OFFER, texts=texts, rules=DriverRules(install_by=round(FAR)), reminders_left=1)
    display.wait(lambda: display.has("must"))
    assert display.find("must").text == "This update must be installed by 1 Jan 2100, 00:00 UTC."
    assert display.find("obligation").text == "The authority requires it."
    assert display.find("contact").text == "Workshop: 0800 123"
    assert display.find("reminders").text == "You can put it off once more."
    assert display.has("later") and not display.has("decline")
    display.model.show(reminders_left=0)
    display.wait(lambda: not display.has("later"))


def test_download_and_installation_are_two_questions(display: Display) -> None:
    display.model.show(**{**OFFER, "question": Question.DOWNLOAD})
    display.wait_for_state("WAITING_FOR_APPROVAL")
    assert display.find("install").text == "Download now"
    assert "asked again before it is installed" in display.find("download-first").text
    display.model.show(job_state=JobState.DOWNLOADING, question=Question.INSTALL)
    display.wait(lambda: display.has("ready"))
    assert display.find("install").text == "Install now"
    assert display.script("return document.getElementById('announcer').textContent") == "Ready to install"


@pytest.mark.parametrize(("width", "height"), [(320, 640), (390, 844), (1280, 800)])
def test_what_keeps_the_button_from_being_pressed_is_read_before_it(display: Display, width: int, height: int) -> None:
    resize(display.browser, width, height)
    moving = ConditionView(quantity=Quantity.SPEED, sign=Sign.AT_MOST, limit=0, value=30, is_met=False)
    display.model.show(**{**OFFER, "conditions": (moving,)})
    display.wait(lambda: display.has("install") and not display.find("install").is_enabled())
    script = "return document.getElementById(arguments[0]).getBoundingClientRect()"
    conditions, buttons = (display.browser.execute_script(script, each) for each in ("conditions", "actions"))
    assert conditions["bottom"] <= buttons["top"]


def test_the_words_of_the_steps_are_not_broken_and_grow_with_the_display(display: Display) -> None:
    display.model.show(**{**OFFER, "job_state": JobState.DOWNLOADING, "question": None})
    display.wait_for_state("DOWNLOADING")
    height = "return document.querySelector('[data-step=DOWNLOADING] .step-name').getBoundingClientRect().height"
    one_line = "return document.querySelector('[data-step=INSTALLING] .step-name').getBoundingClientRect().height"
    desktop = display.script(height)
    assert desktop == display.script(one_line)
    resize(display.browser, 3840, 2160)
    display.wait(lambda: display.script(height) > 1.8 * desktop)
