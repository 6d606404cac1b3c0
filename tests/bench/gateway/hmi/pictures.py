"""Pictures of the driver's page in every state, to be looked at: ``python -m tests.bench.gateway.hmi.pictures FOLDER``.

Each state as on a small and a larger phone, on a desktop, on a display of 4K, and from right to left; light or dark. ``all-*.png`` has all
states of one kind of display side by side.
"""

from __future__ import annotations

import argparse
import base64
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from selenium.webdriver import Chrome

from otabench.bench.gateway.hmi.model import ConditionView, Ending, HistoryEntry
from otabench.proto.conditions import Quantity, Sign
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.job_states import JobState
from tests.bench.gateway.hmi.browser import resize, start_browser
from tests.bench.gateway.hmi.display import Display
from tests.bench.gateway.hmi.memory_model import IDLE_ECUS, OFFER, MemoryModel
from tests.bench.gateway.hmi.serving import CODE, serving

_NOW: Final = time.time()
_TEXTS: Final = {
    "en": DriverTexts(
        purpose="Important for safety. Please install it within a week.",
        unavailable="Lane keeping, for about five minutes.",
        instructions="Leave the vehicle parked until the page says that you may drive.",
        contact="Your dealer, 0800 123456",
    ),
    "ar": DriverTexts(
        name="تحديث الخريف",
        release_notes="يعمل المحرك بهدوء أكبر.",
        purpose="مهم للسلامة. يرجى تثبيته خلال أسبوع.",
        unavailable="المحافظة على المسار، لمدة خمس دقائق تقريبا.",
        instructions="اترك المركبة متوقفة حتى تخبرك الصفحة بأنه يمكنك القيادة.",
    ),
}


def _conditions(*, speed: float = 0, charge: float | None = 80) -> tuple[ConditionView, ...]:
    return (
        ConditionView(quantity=Quantity.SPEED, sign=Sign.AT_MOST, limit=0, value=speed, is_met=speed <= 0),
        ConditionView(quantity=Quantity.SUPPLY, sign=Sign.AT_LEAST, limit=12, value=12.6, is_met=True),
        ConditionView(quantity=Quantity.CHARGE, sign=Sign.AT_LEAST, limit=40, value=charge, is_met=charge is not None),
    )


_ASKED: Final[dict[str, Any]] = {
    **OFFER,
    "texts": _TEXTS,
    "conditions": _conditions(),
    "is_kept_parked": True,
    "reminders_left": 2,
}
_RUNNING: Final[dict[str, Any]] = {**_ASKED, "question": None, "can_be_canceled": True}
_STAGING: Final = (
    IDLE_ECUS[0].model_copy(
        update={"to_version": "2.0.0", "phase": "transferring", "bytes_done": 49_152, "bytes_total": 65_536}
    ),
    IDLE_ECUS[1].model_copy(update={"to_version": "2.0.0", "phase": "waiting"}),
)
_HISTORY: Final = tuple(
    HistoryEntry(
        job_id=f"job-{number}",
        campaign_name=name,
        state=state,
        ending=ending,
        ended_at=_NOW - 86_400 * 30 * number,
        reason=reason,
    )
    for number, (name, state, ending, reason) in enumerate(
        (
            ("Summer release", JobState.SUCCEEDED, Ending.INSTALLED, ""),
            ("Spring release", JobState.ROLLED_BACK, Ending.UNDONE, "adas: no answer after the reset"),
            ("Winter release", JobState.REJECTED, Ending.DECLINED, "the driver declined: no time"),
        ),
        1,
    )
)
STATES: Final[dict[str, dict[str, Any]]] = {
    "idle": {"history": _HISTORY},
    "offer": _ASKED,
    "offer-condition-not-met": {**_ASKED, "conditions": _conditions(speed=30, charge=None)},
    "scheduled": {**_ASKED, "start_from": _NOW + 20_000, "start_by": _NOW + 27_200},
    "downloading": {
        **_RUNNING,
        "job_state": JobState.DOWNLOADING,
        "download_done_bytes": 97_280,
        "progress_percent": 7,
    },
    "installing": {**_RUNNING, "job_state": JobState.INSTALLING, "progress_percent": 42, "ecus": _STAGING},
    "installing-condition-lost": {
        **_RUNNING,
        "job_state": JobState.INSTALLING,
        "progress_percent": 42,
        "ecus": _STAGING,
        "is_paused": True,
        "conditions": _conditions(speed=30),
    },
    "rolled-back": {
        **_RUNNING,
        "can_be_canceled": False,
        "job_state": JobState.ROLLED_BACK,
        "ending": Ending.UNDONE,
        "reason": "adas: no answer after the reset",
        "history": _HISTORY,
    },
    "result": {
        **_RUNNING,
        "can_be_canceled": False,
        "job_state": JobState.SUCCEEDED,
        "ending": Ending.INSTALLED,
        "progress_percent": 100,
        "history": _HISTORY,
    },
}


@dataclass(frozen=True)
class _Kind:
    """A kind of display."""

    width: int
    height: int
    scheme: str = "light"
    language: str = "en"


KINDS: Final = {
    "phone-320": _Kind(320, 640),
    "phone-390-dark": _Kind(390, 844, "dark"),
    "desktop": _Kind(1280, 800),
    "right-to-left": _Kind(1280, 800, "dark", "ar"),
    "phone-right-to-left": _Kind(390, 844, "light", "ar"),
    "4k": _Kind(3840, 2160, "dark"),
}


def take(folder: Path) -> None:
    """Write all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    model = MemoryModel()
    with tempfile.TemporaryDirectory() as own, serving(model) as url:
        browser = start_browser(Path(own))
        try:
            display = Display(browser, model, url)
            browser.get(f"{url}/pair/{CODE}")
            for name, kind in KINDS.items():
                _set(browser, kind)
                made = [_take(display, folder / f"{state}-{name}.png", state) for state in STATES]
                _side_by_side(browser, made, kind, folder / f"all-{name}.png")
                browser.get(url)
        finally:
            browser.quit()


def _set(browser: Chrome, kind: _Kind) -> None:
    resize(browser, kind.width, kind.height)
    scheme = {"name": "prefers-color-scheme", "value": kind.scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.execute_cdp_cmd("Emulation.setLocaleOverride", {"locale": kind.language})
    browser.execute_script(f"localStorage.setItem('otabench-language', '{kind.language}')")
    browser.refresh()


def _take(display: Display, path: Path, state: str) -> Path:
    model = display.model
    model.reset()
    shown = STATES[state]
    model.show(**shown)
    display.wait_for_state(str(shown.get("job_state", "IDLE")))
    time.sleep(0.4)  # transitions of the page
    display.browser.save_screenshot(str(path))
    return path


def _side_by_side(browser: Chrome, pictures: list[Path], kind: _Kind, path: Path) -> None:
    width = min(kind.width, 620)
    images = "".join(
        f"<figure><figcaption>{each.stem}</figcaption><img width={width} src='data:image/png;base64,"
        f"{base64.b64encode(each.read_bytes()).decode()}'></figure>"
        for each in pictures
    )
    style = "<style>body{display:flex;flex-wrap:wrap;margin:0;background:#888}figure{margin:6px}</style>"
    browser.get("about:blank")
    resize(browser, (width + 12) * 3 + 8 if width > 400 else (width + 12) * 5 + 8, 800)
    browser.execute_script("document.write(arguments[0])", f"<!doctype html>{style}{images}")
    time.sleep(0.5)
    whole = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(whole["data"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    take(parser.parse_args().folder)
