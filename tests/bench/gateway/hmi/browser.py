"""Debian's Chromium, driven by Selenium: headless, from an empty profile, that contacts no host by itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.chromium import remote_connection
from selenium.webdriver.remote.client_config import ClientConfig

PATIENCE_S = 240.0
"""For a start, a page or a change of it, on a busy machine or in a guest kernel."""
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
    # few processes: each costs seconds where the kernel is a guest
    "--no-zygote",
    "--disable-site-isolation-trials",
    "--renderer-process-limit=1",
    "--disable-features=IsolateOrigins,site-per-process,BackForwardCache,OptimizationHints,MediaRouter,Translate",
)


def start_browser(tmp_path: Path, *, width: int = 1280, height: int = 800) -> webdriver.Chrome:
    """Start a browser that logs its console and its requests. The caller calls ``quit()``.

    Args:
        tmp_path: an own, empty folder for the profile and the driver's log.
        width: of the page, in CSS pixels; likewise height.

    Raises:
        FileNotFoundError: chromium or chromedriver is not installed.
    """
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if missing := [name for name, path in found.items() if path is None]:
        raise FileNotFoundError(f"{' and '.join(missing)} not found: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(found["chromium"])
    for flag in (*_FLAGS, f"--window-size={width},{height}", f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    # In a guest kernel everything takes ten times as long, and chromedriver waits for one minute by default.
    options.add_experimental_option("browserStartupTimeout", round(PATIENCE_S * 1000))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(executable_path=str(found["chromedriver"]), log_output=str(tmp_path / "chromedriver.log"))
    with patch.object(remote_connection, "ClientConfig", _patient_client):
        browser = webdriver.Chrome(options=options, service=service)
    resize(browser, width, height)
    browser.set_page_load_timeout(PATIENCE_S)
    return browser


def _patient_client(**settings: Any) -> ClientConfig:
    """Return the settings of the connection to chromedriver. Selenium has no parameter for its limit of two minutes for an answer."""
    return ClientConfig(**{**settings, "timeout": round(PATIENCE_S)})


def resize(browser: webdriver.Chrome, width: int, height: int) -> None:
    """Give the page, not the window around it, this size. Windows have a minimum width, so it is the device that changes."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def console_errors(browser: webdriver.Chrome) -> list[str]:
    """Errors and warnings of the page's console since the last call."""
    return [str(entry["message"]) for entry in _log(browser, "browser") if entry["level"] in ("SEVERE", "WARNING")]


def requested_hosts(browser: webdriver.Chrome) -> set[str]:
    """``host:port`` of all that the page asked the network for since the last call."""
    hosts = set()
    for entry in _log(browser, "performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            url = urlsplit(message["params"]["request"]["url"])
            if url.scheme in ("http", "https", "ws", "wss"):
                hosts.add(url.netloc)
    return hosts


def _log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries
