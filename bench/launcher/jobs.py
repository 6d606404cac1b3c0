"""Campaigns and jobs of a running bench: made, waited for, decided on.

Decides what a campaign is made of (the bench's firmware, the image each ECU runs as the patch's base) and when waiting is
over: where the job can no longer come to the wanted state, or a process has died. What a job's state is, ``clients.job_watch``
reads in the trace.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from otabench.bench import ports
from otabench.bench.clients.hmi import HmiClient
from otabench.bench.clients.job_watch import JobView, JobWatch
from otabench.bench.errors import WaitTimeout
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.launcher.ecus import BenchEcus
from otabench.bench.launcher.options import Transfer
from otabench.bench.launcher.run_folder import RunFolder
from otabench.proto.job_states import FINAL_STATES, JobState

if TYPE_CHECKING:
    from otabench.bench.clients.operator import OperatorClient

_WAIT_INTERVAL_S: Final = 0.05


@dataclass(frozen=True)
class CampaignHandle:
    """A campaign made on this bench; one vehicle, so one job."""

    campaign_id: str
    job_id: str


class BenchJobs(BenchEcus):
    """Part of ``launcher.bench.Bench``."""

    folder: RunFolder

    def __init__(self) -> None:
        super().__init__()
        self.firmware: dict[str, dict[str, FirmwareFile]] = {}
        self.campaign: CampaignHandle | None = None
        self._operator: OperatorClient | None = None
        self._watch: JobWatch | None = None

    @property
    def operator(self) -> OperatorClient:
        """The operator's connection to the cloud."""
        if self._operator is None:
            from otabench.bench.clients.operator import OperatorClient

            self._operator = OperatorClient(f"{ports.LOOPBACK}:{self.setup.ports.grpc}", self.setup.tls("operator"))
        return self._operator

    @property
    def hmi(self) -> HmiClient:
        """The gateway's HMI."""
        return HmiClient(self.setup.ports.hmi)

    def start_campaign(
        self,
        *,
        version: str | None = None,
        name: str = "Bench campaign",
        release_notes: str = "Made by the bench.",
        images: Mapping[str, bytes] | None = None,
        transfer: Transfer | None = None,
        encrypt: bool | None = None,
        manifest_lifetime_s: float = 0.0,
        approval_timeout_s: float = 0.0,
        ecus: Collection[str] | None = None,
    ) -> CampaignHandle:
        """Make a campaign for this vehicle.

        Args:
            version: of the firmware made with the bench; None: the newest.
            name, release_notes: shown to the driver.
            images: ECU name to MCUboot image, instead of the bench's own.
            transfer, encrypt: None: the options'.
            manifest_lifetime_s, approval_timeout_s: see ``ota.proto``.
            ecus: only these; None: all.

        Raises:
            EndpointError: the cloud does not answer or refuses.
        """
        from otabench.bench.clients.operator import CampaignImage

        policy = transfer or self.options.transfer
        wanted = version or self.options.versions[-1]
        chosen = [ecu for ecu in self.topology.ecus if ecus is None or ecu in ecus]
        campaign = self.operator.create_campaign(
            name=name,
            release_notes=release_notes,
            vins=[self.topology.vehicle.vin],
            images=[
                CampaignImage(
                    hardware_id=self.topology.ecus[ecu].hardware_id,
                    image=(images or {}).get(ecu) or self.firmware[ecu][wanted].path.read_bytes(),
                    base_image=b"" if policy is Transfer.FULL else self._running_image(ecu),
                )
                for ecu in chosen
            ],
            transfer=policy,
            encrypt=self.options.encrypt if encrypt is None else encrypt,
            manifest_lifetime_s=manifest_lifetime_s,
            approval_timeout_s=approval_timeout_s,
        )
        self.campaign = CampaignHandle(campaign.campaign_id, campaign.jobs[0].job_id)
        self._bench_changed()
        return self.campaign

    def job(self) -> JobView | None:
        """Return the job whose state changed last, as the gateway told it; None before the first."""
        assert self._watch is not None
        self._watch.update()
        return self._watch.latest

    def wait_for_job(
        self, states: JobState | str | Collection[JobState | str], *, timeout_s: float = 60.0, job_id: str | None = None
    ) -> JobView:
        """Wait until a job is, or has been, in one of the states.

        Args:
            states: one or several.
            timeout_s: until then.
            job_id: None: the last campaign's job.

        Raises:
            WaitTimeout: it does not come there, or it ended elsewhere.
            ProcessFailed: a process died meanwhile.
        """
        wanted = {JobState(states)} if isinstance(states, str) else {JobState(state) for state in states}
        wanted_id = job_id or (self.campaign.job_id if self.campaign else None)
        names = ", ".join(sorted(wanted))
        deadline = time.monotonic() + timeout_s
        assert self._watch is not None
        while True:
            self._watch.update()
            job = self._watch.jobs.get(wanted_id) if wanted_id else self._watch.latest
            if job is not None and not wanted.isdisjoint(job.history):
                return job
            self.check_processes()
            at = f"is {job.state} ({job.reason or 'no reason given'})" if job else "is not known to the gateway"
            if job is not None and job.ended:
                raise WaitTimeout(f"job {wanted_id} {at}: it cannot come to {names} any more; see {self.folder.trace}")
            if time.monotonic() > deadline:
                raise WaitTimeout(f"job {wanted_id} {at} after {timeout_s:.0f} s, not {names}; see {self.folder.trace}")
            time.sleep(_WAIT_INTERVAL_S)

    def wait_for_end(self, *, timeout_s: float = 120.0) -> JobView:
        """Wait until the last campaign's job has ended, wherever."""
        return self.wait_for_job(FINAL_STATES, timeout_s=timeout_s)

    def decide(self, decision: str = "install", *, job_id: str | None = None) -> None:
        """Answer in the driver's place, through the HMI's API.

        Raises:
            EndpointError: the HMI does not answer or refuses.
        """
        chosen = job_id or (self.campaign.job_id if self.campaign else None) or self.hmi.state().get("job_id")
        self.hmi.decide(decision, job_id=str(chosen))

    def update(self, *, timeout_s: float = 120.0, **campaign: Any) -> JobView:
        """Return a whole update: campaign, consent, end. Takes the arguments of ``start_campaign``."""
        self.start_campaign(**campaign)
        self.wait_for_job(JobState.WAITING_FOR_APPROVAL, timeout_s=timeout_s)
        self.decide()
        return self.wait_for_end(timeout_s=timeout_s)

    def _running_image(self, ecu: str) -> bytes:
        """Return the image that an ECU runs now; what it was delivered with, where it cannot be asked."""
        made = self.firmware[ecu]
        running = self.options.versions[0]
        state = self.ecu_states().get(ecu)
        if state is not None:  # else it is off: the cloud may hold its image already
            running = str(state["slots"][state["active_slot"]]["version"])
        return made[running].path.read_bytes() if running in made else b""
