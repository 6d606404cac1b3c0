"""The page in the driver's language: the browser's or the one chosen, written from the right where it is, with no word missing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from otabench.bench.gateway.hmi.model import Ending, ObstacleKind, Refusal
from otabench.proto.conditions import Quantity
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.browser import console_errors, resize
from tests.bench.gateway.hmi.display import Display
from tests.bench.gateway.hmi.memory_model import OFFER
from tests.bench.gateway.hmi.serving import CODE

pytestmark = pytest.mark.browser

TEXTS = {"ar": DriverTexts(name="إصدار الخريف"), "fi": DriverTexts(name="Syksyn versio")}
PATHS = """
    const paths = (value, at) => typeof value === "object"
      ? Object.entries(value).flatMap(([key, each]) => paths(each, at ? `${at}.${key}` : key))
      : [`${at}: ${typeof value === "function" ? `function of ${value.length}` : value === "" ? "empty" : typeof value}`];
"""


@pytest.fixture
def speaking(display: Display) -> Iterator[Display]:
    """A display whose browser may get other languages; afterwards it has its own again, and has forgotten what was chosen."""
    yield display
    display.script("localStorage.clear()")
    load(display, "en-US")


def load(display: Display, accept_language: str) -> None:
    """Load the page in a browser with these languages."""
    agent = display.script("return navigator.userAgent")
    display.browser.execute_cdp_cmd(
        "Network.setUserAgentOverride", {"userAgent": agent, "acceptLanguage": accept_language}
    )
    display.browser.get(f"{display.url}/pair/{CODE}")
    display.wait(lambda: display.has("job-state"))


def shown_language(display: Display) -> tuple[str, str, str]:
    """Return language and direction of the page, and its title."""
    found = display.script(
        "return [document.documentElement.lang, document.documentElement.dir, document.getElementById('job-title').textContent]"
    )
    return tuple(found)


def test_the_page_has_the_browsers_language_until_another_is_chosen(speaking: Display) -> None:
    speaking.model.show(**OFFER, texts=TEXTS)
    load(speaking, "ar-EG,ar")
    assert shown_language(speaking) == ("ar", "rtl", "يتوفر تحديث")
    assert speaking.find("campaign").text == "إصدار الخريف"
    load(speaking, "fi-FI,de-AT")
    assert shown_language(speaking) == ("de", "ltr", "Update verfügbar")
    assert speaking.find("campaign").text == "Syksyn versio", "the campaign has a language that the page does not have"

    Select(speaking.find("language")).select_by_value("ar")
    assert shown_language(speaking) == ("ar", "rtl", "يتوفر تحديث")
    assert speaking.browser.title == "تحديث البرامج"
    assert speaking.find("campaign").text == "إصدار الخريف"
    assert speaking.find("install").text == "التثبيت الآن"
    speaking.find("install").click()
    speaking.wait_for_state("DOWNLOADING")
    assert speaking.model.choices[-1].language == "ar", "the consent names the language that was read"
    load(speaking, "fi-FI,de-AT")
    assert shown_language(speaking)[0] == "ar", "the choice is remembered"
    assert console_errors(speaking.browser) == []


def test_all_languages_have_the_same_words(display: Display) -> None:
    found = display.browser.execute_async_script(
        PATHS
        + """
        const done = arguments[arguments.length - 1];
        Promise.all(["en", "de", "ar"].map((each) => import(`/static/lang_${each}.js`)))
          .then((all) => done(all.map((each) => paths(each.default, "").sort())));
        """
    )
    english, *others = found
    assert len(english) > 200
    # Arabic counts reminders in one form, with the same argument.
    assert others == [english, english]


def test_every_value_of_the_gateway_has_words(display: Display) -> None:
    words = display.browser.execute_async_script(
        "const done = arguments[0]; import('/static/lang_en.js').then((found) => done(JSON.parse(JSON.stringify(found.default))));"
    )
    assert {str(each) for each in JobState} == set(words["states"])
    assert {str(each) for each in Ending} == set(words["endings"])
    assert {str(each) for each in ObstacleKind} == set(words["obstacles"])
    assert {str(each) for each in Quantity} <= set(words["conditions"])
    # "other" is a refusal without words of its own: the gateway's sentence is shown.
    assert {str(each) for each in Refusal} - {"other"} <= set(words["refusals"])


def test_a_page_written_from_the_right_fits_and_mirrors_what_has_a_direction(speaking: Display) -> None:
    Select(speaking.find("language")).select_by_value("ar")
    resize(speaking.browser, 1280, 800)
    speaking.model.show(**OFFER, texts={"ar": DriverTexts(name="إصدار", contact="0800 123")})
    speaking.wait_for_state("WAITING_FOR_APPROVAL")
    assert speaking.find("contact").value_of_css_property("direction") == "ltr", "a telephone number keeps its order"
    units = speaking.browser.find_element(By.ID, "ecus")
    assert units.location["x"] < speaking.browser.find_element(By.ID, "job").location["x"]
    before, after = (
        speaking.find("ecu-row-engine").find_element(By.CSS_SELECTOR, f".version-{each}") for each in ("from", "to")
    )
    assert after.location["x"] < before.location["x"]
    for width, state in product((320, 390), (JobState.WAITING_FOR_APPROVAL, JobState.INSTALLING)):
        resize(speaking.browser, width, 900)
        speaking.model.show(job_state=state)
        speaking.wait_for_state(state)
        assert speaking.script("return document.documentElement.scrollWidth") <= width, (width, state)


BROKEN_WORDS = """
return [...document.querySelectorAll('.ecu-name')].flatMap(({firstChild: text}) =>
  [...text.data.matchAll(/\\S+/g)].filter(({0: word, index}) => {
    const range = document.createRange();
    range.setStart(text, index);
    range.setEnd(text, index + word.length);
    return range.getClientRects().length > 1;
  }).map(([word]) => word));
"""


def test_no_name_of_a_control_unit_is_broken_inside_a_word(speaking: Display) -> None:
    speaking.model.show(**OFFER)
    speaking.wait_for_state("WAITING_FOR_APPROVAL")
    resize(speaking.browser, 320, 900)
    languages = Select(speaking.find("language"))
    for language in [str(option.get_attribute("value")) for option in languages.options]:
        languages.select_by_value(language)
        assert len(speaking.browser.find_elements(By.CSS_SELECTOR, ".ecu-name")) == 2
        assert speaking.script(BROKEN_WORDS) == [], language
