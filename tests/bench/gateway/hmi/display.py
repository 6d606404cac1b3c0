"""One model, served, and the page that shows it in a browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.bench.gateway.hmi.browser import PATIENCE_S
from tests.bench.gateway.hmi.memory_model import MemoryModel

T = TypeVar("T")


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
        return WebDriverWait(self.browser, PATIENCE_S, 0.05, ignored).until(lambda _: condition())

    def wait_for_state(self, state: str) -> None:
        self.wait(lambda: self.find("job-state").get_attribute("data-state") == state)

    def row(self, ecu: str, part: str) -> str:
        return self.find(f"ecu-row-{ecu}").find_element(By.CSS_SELECTOR, f"[data-testid='{part}']").text

    def focused(self) -> str:
        return str(self.browser.switch_to.active_element.get_attribute("id"))

    def script(self, source: str) -> Any:
        return self.browser.execute_script(source)

    def text(self) -> str:
        """Return everything that can be read, screen readers included."""
        return str(self.script("return document.body.textContent"))

    def job_text(self) -> str:
        return self.browser.find_element(By.ID, "job").text

    def workshop(self, *, on: bool) -> None:
        switch = self.find("workshop")
        if (switch.get_attribute("aria-pressed") == "true") != on:
            switch.click()
