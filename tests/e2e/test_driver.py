"""The driver in front of the real page: Install now is clicked in Chromium, progress and result are seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from otabench.bench.launcher.options import TransferPolicy
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.browser import PATIENCE_S, console_errors, requested_hosts, start_browser
from tests.e2e.living_bench import LivingBench

pytestmark = [pytest.mark.mosquitto, pytest.mark.browser, pytest.mark.feature("fault", ecu="adas")]

RECORD_WHAT_IS_SHOWN = """
window.shown = [];
new MutationObserver(() => {
  const state = document.querySelector('[data-testid="job-state"]')?.dataset.state;
  const phase = document.querySelector('[data-testid="ecu-row-adas"]')?.dataset.phase;
  const bytes = document.querySelector('[data-testid="ecu-row-adas"] [data-testid="percent"]')?.textContent;
  const overall = document.querySelector('[data-testid="overall-percent"]')?.textContent ?? "";
  window.shown.push([state, phase, bytes, overall].join("|"));
}).observe(document.body, {subtree: true, childList: true, attributes: true, characterData: true});
window.announced = [];
const region = document.getElementById("announcer");
new MutationObserver(() => window.announced.push(region.textContent))
  .observe(region, {subtree: true, childList: true, characterData: true});
"""


@pytest.mark.timeout(900)
@pytest.mark.every_bench
def test_install_now_is_clicked_and_progress_and_result_are_seen(living: LivingBench, tmp_path: Path) -> None:
    bench = living.bench
    wanted = living.next_version
    bench.ecus.control_port("adas").fault("slow-flash", factor=100)
    job_id = living.start_campaign(
        transfer=TransferPolicy.FULL, name="Autumn release", release_notes="Smoother cold start."
    )
    bench.jobs.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=60)
    browser = start_browser(tmp_path)
    try:
        browser.get(bench.hmi.link)
        wait = WebDriverWait(browser, PATIENCE_S)
        install = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, '[data-testid="install"]'))
        assert "Smoother cold start." in browser.find_element(By.TAG_NAME, "body").text
        browser.execute_script(RECORD_WHAT_IS_SHOWN)
        install.click()
        result = wait.until(
            lambda page: page.find_element(By.CSS_SELECTOR, '[data-testid="result"][data-state="SUCCEEDED"]')
        )
        assert result.is_displayed()
        row = browser.find_element(By.CSS_SELECTOR, '[data-testid="ecu-row-adas"]')
        assert wanted in row.text
        shown = [str(line).split("|") for line in browser.execute_script("return window.shown")]
        assert "INSTALLING" in {state for state, _, _, _ in shown}
        assert "transferring" in {phase for _, phase, _, _ in shown}
        assert len({percent for state, _, percent, _ in shown if state == "INSTALLING"}) >= 3, shown
        overall = [int(percent) for _, _, _, percent in shown if percent]
        assert overall == sorted(overall), "the progress of the whole update never falls"
        assert len(set(overall)) >= 5, overall
        announced = browser.execute_script("return window.announced")
        assert announced[-1] == "Update installed"
        assert len(announced) <= 10, "a screen reader reads each of them out"
        assert console_errors(browser) == []
        assert {host.split(":")[0] for host in requested_hosts(browser)} <= {"localhost"}
    finally:
        browser.quit()
    living.expect_updated()
    (consent,) = (event.data["consent"] for event in living.events(job_id, ["driver.consent"]))
    assert consent["shown"]["texts"]["release_notes"] == "Smoother cold start."
    assert len(consent["who"]["session"]) == 64, "it was the session of this browser, not a program with the code"
