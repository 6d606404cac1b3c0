"""One browser for all tests of the page, and one page for each of their modules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome

import otabench.bench.gateway.hmi.app as hmi_app
from tests.bench.gateway.hmi.browser import console_errors, requested_hosts, resize, start_browser
from tests.bench.gateway.hmi.display import Display
from tests.bench.gateway.hmi.memory_model import MemoryModel
from tests.bench.gateway.hmi.serving import CODE, serving


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    chrome = start_browser(tmp_path_factory.mktemp("browser"))
    yield chrome
    chrome.quit()


@pytest.fixture(scope="module")
def page(browser: Chrome) -> Iterator[Display]:
    model = MemoryModel()
    with pytest.MonkeyPatch.context() as patch, serving(model) as url:
        patch.setattr(
            hmi_app, "_EVENT_INTERVAL_S", 0.005
        )  # many states are shown; ``test_events`` holds the real interval
        browser.get("about:blank")
        requested_hosts(browser)  # what the page of another module has requested is not this page's
        browser.get(f"{url}/pair/{CODE}")
        yield Display(browser, model, url)


@pytest.fixture
def display(page: Display) -> Display:
    """The idle page, loaded once for all tests: a kernel in a kernel takes its time over every page load."""
    page.model.reset()
    if not page.browser.current_url.startswith(f"{page.url}/"):  # the browser is shared: another test went elsewhere
        page.browser.get(f"{page.url}/pair/{CODE}")
    resize(page.browser, 1280, 800)
    page.wait_for_state("IDLE")
    page.workshop(on=False)
    page.browser.execute_cdp_cmd("Emulation.setTimezoneOverride", {"timezoneId": "UTC"})
    console_errors(page.browser)  # a refusal of the test before is not this test's error
    return page
