"""Campaigns and jobs of a running bench: start a campaign, follow its job, decide in the driver's place.

A campaign is made of the bench's own firmware; the image that an ECU runs is the base of its patch (``clients.sent_images``). Waiting
for a job ends early if the job can no longer reach the wanted state, or if a process of the bench has died. The state of a job is read
from the trace (``clients.job_watch``); an end counts once the cloud has received it (``clients.job_end``).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from otabench.bench.clients import job_end
from otabench.bench.clients.hmi import HmiClient
from otabench.bench.clients.job_watch import JobView, JobWatch, where_it_stands
from otabench.bench.clients.sent_images import SentImages
from otabench.bench.deadline import Deadline
from otabench.bench.errors import EndpointError, WaitTimeout
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.launcher.ecus import Ecus
from otabench.bench.launcher.options import TransferPolicy
from otabench.bench.launcher.processes import Processes
from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.launcher.specs.names import CLOUD_CONTROL, GATEWAY
from otabench.proto.conditions import PARKED
from otabench.proto.driver_rules import DriverRules
from otabench.proto.driver_texts import DriverTexts
from otabench.proto.job_states import FINAL_STATES, JobState

if TYPE_CHECKING:
    from otabench.bench.clients.operator import CampaignImage, OperatorClient

_POLL_INTERVAL_S: Final = 0.05
_CLOUD_HEARS_S: Final = 10.0
"""Added to the time limit of a job, so that a job that ends in time does not fail because the cloud receives it late."""


@dataclass(frozen=True)
class CampaignHandle:
    """A campaign made on this bench; one vehicle, so one job."""

    campaign_id: str
    job_id: str


class CampaignTerms(TypedDict, total=False):
    """The terms of a campaign that go to the cloud unchanged.

    Attributes:
        name, release_notes: shown to the driver.
        manifest_lifetime_s, approval_timeout_s: see ``ota.proto``.
        conditions_limit_s: how long the vehicle waits for a lost condition; 0: ten minutes.
        texts: what the driver reads, by language (BCP 47), in addition to ``name`` and ``release_notes``.
        driver: what the driver may decide, and how often. None: freely.
    """

    name: str
    release_notes: str
    manifest_lifetime_s: float
    approval_timeout_s: float
    conditions_limit_s: float
    texts: Mapping[str, DriverTexts] | None
    driver: DriverRules | None


_DEFAULT_TERMS: Final[CampaignTerms] = {"name": "Bench campaign", "release_notes": "Made by the bench."}


class Jobs:
    """The campaigns and jobs of one bench.

    Args:
        setup: topology, options and run folder.
        firmware: ``firmware[ecu][version]``; may grow after this object was made.
        processes: checked while a job is waited for.
        ecus: asked for the image that each runs.
        operator: returns the connection to the cloud.
        hmi: the gateway's HMI.
        on_change: called after a campaign was made, so that it can be published.

    Attributes:
        campaign: the last one that was made; None before the first.
    """

    def __init__(
        self,
        setup: RunSetup,
        *,
        firmware: Mapping[str, Mapping[str, FirmwareFile]],
        processes: Processes,
        ecus: Ecus,
        operator: Callable[[], OperatorClient],
        hmi: HmiClient,
        on_change: Callable[[], None],
    ) -> None:
        self.campaign: CampaignHandle | None = None
        self._topology = setup.topology
        self._options = setup.options
        self._keys_dir = setup.keys_dir
        self._trace = setup.folder.trace
        self._sent = SentImages(setup.folder.firmware)
        self._watch = JobWatch(setup.folder.trace)
        self._firmware = firmware
        self._processes = processes
        self._ecus = ecus
        self._operator = operator
        self._hmi = hmi
        self._on_change = on_change

    def start_campaign(
        self,
        *,
        version: str | None = None,
        images: Mapping[str, bytes | Path] | None = None,
        ecus: Collection[str] | None = None,
        transfer: TransferPolicy | None = None,
        encrypt: bool | None = None,
        conditions: Collection[str] | None = None,
        **terms: Unpack[CampaignTerms],
    ) -> CampaignHandle:
        """Make a campaign for this vehicle.

        Args:
            version: of the firmware made with the bench; None: the newest.
            images: ECU name to MCUboot image, or to the file of an image or packed program, instead of the bench's own.
            ecus: only these; None: all.
            transfer, encrypt: None: the options'.
            conditions: that the vehicle must meet, such as ``"speed_km_h<=0"`` (``proto.conditions``); None: the options'.
            terms: further terms, by name, all of which may be left out.

        Raises:
            EndpointError: the cloud does not answer or refuses.
            FirmwareError: the images cannot be published in the Image repository.
        """
        policy = transfer or self._options.transfer
        campaign_images = self._campaign_images(
            [ecu for ecu in self._topology.ecus if ecus is None or ecu in ecus],
            version=version or self._options.versions[-1],
            given=images or {},
            transfer=policy,
        )
        campaign = self._publish(campaign_images).create_campaign(
            vins=[self._topology.vehicle.vin],
            images=campaign_images,
            transfer=policy,
            encrypt=self._options.encrypt if encrypt is None else encrypt,
            conditions=self._default_conditions() if conditions is None else list(conditions),
            **_DEFAULT_TERMS | terms,
        )
        self._keep_sent(campaign_images)
        self.campaign = CampaignHandle(campaign.campaign_id, campaign.jobs[0].job_id)
        self._on_change()
        return self.campaign

    def _publish(self, images: Sequence[CampaignImage]) -> OperatorClient:
        """Publish the images in the Image repository. Return the connection to the cloud."""
        # Imported here: python-tuf takes a while to import, and not every bench makes a campaign.
        from otabench.bench.clients.publishing import publish

        operator = self._operator()
        publish(self._keys_dir, images, operator)
        return operator

    def _keep_sent(self, images: Sequence[CampaignImage]) -> None:
        for each in images:  # the bench's own too: for a board the last one that was sent counts
            if each.program is None:
                self._sent.keep(each.image)

    def current(self) -> JobView | None:
        """Return the job whose state changed last, as the gateway reported it; None before the first."""
        self._watch.update()
        return self._watch.latest

    def wait_for(
        self, states: JobState | str | Collection[JobState | str], *, timeout_s: float = 60.0, job_id: str | None = None
    ) -> JobView:
        """Wait until a job is, or has been, in one of the states. If it has ended, wait until the cloud has received the end, too.

        Args:
            states: one or several.
            timeout_s: until then.
            job_id: None: the last campaign's job.

        Raises:
            WaitTimeout: it does not reach any of them in time, or it ended in another state.
            ProcessFailed: a process died meanwhile.
        """
        # A JobState is a str, too: one state, not its letters.
        wanted = {JobState(states)} if isinstance(states, str) else {JobState(state) for state in states}
        wanted_id = job_id or (self.campaign.job_id if self.campaign else None)
        names = "ended" if wanted == FINAL_STATES else ", ".join(sorted(wanted))
        deadline = Deadline(timeout_s)
        while True:
            self._watch.update()
            job = self._watch.jobs.get(wanted_id) if wanted_id else self._watch.latest
            # The history, not the state: a job may pass CONFIRMING between two polls.
            if job is not None and not wanted.isdisjoint(job.history):
                if job.ended and not wanted.isdisjoint(FINAL_STATES):
                    self._wait_for_cloud(job, timeout_s=deadline.remaining_s() + _CLOUD_HEARS_S)
                return job
            self._processes.check()
            if job is not None and job.ended:
                raise WaitTimeout(
                    f"job {wanted_id} {where_it_stands(job)}: it cannot come to {names} any more; see {self._trace}"
                )
            if deadline.has_passed():
                stands = where_it_stands(job, {} if job else self._page())
                raise WaitTimeout(f"after {timeout_s:.0f} s, job {wanted_id} {stands}, not {names}; see {self._trace}")
            deadline.pause(_POLL_INTERVAL_S)

    def _page(self) -> Mapping[str, Any]:
        try:
            return self._hmi.state()
        except EndpointError:
            return {}

    def wait_for_end(self, *, timeout_s: float = 120.0) -> JobView:
        """Wait until the last campaign's job has ended, in whatever state."""
        return self.wait_for(FINAL_STATES, timeout_s=timeout_s)

    def decide(self, decision: str = "install", *, job_id: str | None = None, when: str = "", reason: str = "") -> None:
        """Decide in the driver's place, through the HMI's API.

        Args:
            decision: ``install``, ``schedule``, ``later``, ``decline`` or ``cancel``.
            job_id: None: the last campaign's job, else the one that the HMI shows.
            when: for ``schedule``: ``night``, or day and time in the vehicle's zone, ``2026-11-30T02:30``.
            reason: for ``decline``.

        Raises:
            EndpointError: the HMI does not answer or refuses.
        """
        chosen = job_id or (self.campaign.job_id if self.campaign else None) or self._hmi.state().get("job_id")
        self._hmi.decide(decision, job_id=str(chosen), when=when, reason=reason)

    def update(self, *, timeout_s: float = 120.0, **campaign: Any) -> JobView:
        """Run a whole update (campaign, consent, end) and return its job. Takes the arguments of ``start_campaign``."""
        self.start_campaign(**campaign)
        self.wait_for(JobState.WAITING_FOR_APPROVAL, timeout_s=timeout_s)
        self.decide()
        return self.wait_for_end(timeout_s=timeout_s)

    def _default_conditions(self) -> list[str]:
        if self._options.conditions is not None:
            return list(self._options.conditions)
        measured = self._topology.condition_sources()
        return [str(each) for each in PARKED if each.quantity in measured]

    def _campaign_images(
        self, ecus: Collection[str], *, version: str, given: Mapping[str, bytes | Path], transfer: TransferPolicy
    ) -> list[CampaignImage]:
        """Return each ECU's image, the given one or the bench's own, with the image that it runs as base of a patch."""
        from otabench.bench.clients import campaign_images  # grpc is slow to import
        from otabench.bench.clients.operator import CampaignImage

        found = []
        for ecu in ecus:
            hardware_id = self._topology.ecus[ecu].hardware_id
            wanted = given.get(ecu) or self._firmware[ecu][version].path
            if isinstance(wanted, Path):
                image = campaign_images.load(wanted, hardware_id=hardware_id)
            else:
                image = CampaignImage(hardware_id, wanted)
            # Patches are made of images only.
            needs_base = image.program is None and transfer is not TransferPolicy.FULL
            found.append(replace(image, base_image=self._running_image(ecu)) if needs_base else image)
        return found

    def _wait_for_cloud(self, job: JobView, *, timeout_s: float) -> None:
        """Wait until the cloud has received the end of a job, if it is the last campaign's and both processes run."""
        if self.campaign is None or self.campaign.job_id != job.job_id:
            return
        job_end.wait_for_cloud(
            self._operator(),
            campaign_id=self.campaign.campaign_id,
            job_id=job.job_id,
            timeout_s=timeout_s,
            can_hear=lambda: self._processes.is_running(GATEWAY) and self._processes.is_running(CLOUD_CONTROL),
        )

    def _running_image(self, ecu: str) -> bytes:
        """Return the image that an ECU runs now; if it cannot be asked, the image that it was delivered with."""
        made = {version: file.path for version, file in self._firmware[ecu].items()}
        state = self._ecus.states().get(ecu)
        if state is None:  # it is off: the cloud may hold its image already
            return made[self._options.versions[0]].read_bytes() if self._options.versions[0] in made else b""
        return self._sent.running(state, hardware_id=self._topology.ecus[ecu].hardware_id, made=made)
