"""Replay of the driver's consent: a consent that was given once is used for something that the driver did not see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from otabench.bench.attacks.parties import Guard
from otabench.bench.attacks.scene import Scene
from otabench.bench.attacks.story import Case, ConsentRefused, Story
from otabench.bench.gateway.trust.primary import Accepted
from otabench.proto import metadata_window
from otabench.proto.consent import VALID_FOR, Consent, Facts, Question, Shown, Who, manifest_digest, offer_id, problem
from otabench.proto.driver_texts import DriverTexts

_FACTS: Final = Facts(
    download_bytes=1000,
    duration_min_s=60,
    duration_max_s=120,
    stops_working=False,
    is_kept_parked=True,
    has_no_way_back=False,
)
_DAY: Final = timedelta(days=1)


def _targets(accepted: Accepted) -> bytes:
    return metadata_window.parse(accepted.window).targets


def _consent(accepted: Accepted, *, question: Question = Question.BOTH, **changes: Any) -> Consent:
    """Return what the gateway records when the driver agrees to a manifest now, with changes to the truth."""
    digest = manifest_digest(_targets(accepted))
    now = datetime.now(UTC)
    custom = accepted.plan.custom
    facts: dict[str, Any] = {
        "vin": custom.vin,
        "job_id": custom.job_id,
        "who": Who(session="attacker", pairing="attacker"),
        "manifest_sha256": digest,
        "offer": offer_id(digest, question, _FACTS),
        "shown": Shown(question=question, language="", texts=DriverTexts(), facts=_FACTS),
        "conditions": (),
        "given_at": now,
        "valid_until": now + VALID_FOR,
    }
    return Consent(**(facts | changes))


def _judge(consent: Consent, accepted: Accepted) -> None:
    """Have the gateway judge a consent, as it does before it downloads and before it installs."""
    custom, targets = accepted.plan.custom, _targets(accepted)
    if reason := problem(consent, manifest=targets, custom=custom, at=datetime.now(UTC)):
        raise ConsentRefused(reason)


def _agree(scene: Scene) -> None:
    """Let the driver agree to a manifest, and the attacker record the consent."""
    accepted = scene.accept()
    scene.memory["consent"] = _consent(accepted)
    # It is good for what it was given for.
    _judge(scene.memory["consent"], accepted)


def _for_another_job(scene: Scene) -> None:
    later = scene.accept(scene.director(job_id="job-later"), scene.images(), job_id="job-later")
    _judge(scene.memory["consent"], later)


def _for_another_manifest(scene: Scene) -> None:
    _judge(scene.memory["consent"], scene.accept())


def _changed(**changes: Any) -> Callable[[Scene], None]:
    def act(scene: Scene) -> None:
        accepted = scene.accept()
        _judge(_consent(accepted, **changes), accepted)

    return act


def _expired(scene: Scene) -> None:
    given_at = datetime.now(UTC) - VALID_FOR - _DAY
    _changed(given_at=given_at, valid_until=given_at + VALID_FOR)(scene)


def _too_early(scene: Scene) -> None:
    _changed(start_from=datetime.now(UTC) + _DAY, start_by=datetime.now(UTC) + 2 * _DAY)(scene)


def _case(name: str, act: Callable[[Scene], None], **more: Any) -> Case:
    return Case(name, act, guard=Guard.GATEWAY, refusal="consent", touches_metadata=True, **more)


CONSENT_REPLAY: Final = Story(
    "consent-replay",
    "replay of the driver's consent",
    "The attacker has recorded that the driver agreed to one update, and uses it for another one, or at another time. A consent "
    "is for one job, one manifest and one offer as it was shown, and the gateway judges it before the download and again before "
    "the installation.",
    (
        _case("uses it for a later job", _for_another_job, prepare=_agree),
        _case("uses it for another manifest of the same job", _for_another_manifest, prepare=_agree),
        _case("uses it for another vehicle", _changed(vin="W0TABENCH99999999")),
        _case("uses it for an offer that was shown differently", _changed(offer="0" * 64)),
        _case("uses it after its time", _expired),
        _case("uses it before the appointment", _too_early),
    ),
)
