"""``otabench campaign …`` and ``otabench status``: commands for a running bench.

Every command speaks with the bench's own processes, through the endpoints in its bench.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from otabench.bench.cli import running
from otabench.bench.cli.driver_rules import AskBeforeDownload, InstallBy, MaxReminders, parse_rules
from otabench.bench.cli.driver_texts import read_driver_texts
from otabench.bench.cli.faults import bus_line
from otabench.bench.cli.image_arguments import parse_images
from otabench.bench.cli.job_reports import report_lines
from otabench.bench.cli.options import (
    LATEST,
    AsJson,
    Campaign,
    Conditions,
    Encrypt,
    RunDir,
    TransferOption,
    parse_conditions,
)
from otabench.bench.cli.rollouts import End, Errors, PerMinute, Start, Success, Waves, parse_rollout, rollout_lines
from otabench.bench.cli.vehicles import Where
from otabench.bench.clients import campaign_images
from otabench.bench.clients.operator import CampaignImage, OperatorClient
from otabench.bench.clients.running_bench import RunningBench
from otabench.bench.errors import EndpointError, UnknownName
from otabench.bench.launcher.bus_faults import BusPorts
from otabench.bench.launcher.options import TransferPolicy
from otabench.proto import image_format, job_states, ota_pb2
from otabench.proto.foreign_text import printable


def create(
    name: Annotated[str, typer.Option("--name", help="Shown to the driver.")] = "Bench campaign",
    notes: Annotated[str, typer.Option("--notes", help="Release notes, shown to the driver.")] = "",
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="ECU=FILE", help="Can be repeated. Default: the bench's newest firmware."),
    ] = None,
    transfer: TransferOption = TransferPolicy.AUTO,
    encrypt: Encrypt = False,
    condition: Conditions = None,
    texts: Annotated[
        Path | None,
        typer.Option(
            "--texts", metavar="FILE", help="What the driver reads, by language: a YAML file (docs/campaigns.md)."
        ),
    ] = None,
    max_reminders: MaxReminders = None,
    ask_before_download: AskBeforeDownload = False,
    install_by: InstallBy = None,
    needs_approval: Annotated[
        bool, typer.Option("--needs-approval", help="Offer it only after a second person's `campaign release`.")
    ] = False,
    waves: Waves = None,
    success: Success = None,
    errors: Errors = None,
    per_minute: PerMinute = 0,
    start: Start = None,
    end: End = None,
    where: Where = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Create nothing: print which vehicles it would be for, and why not the others."),
    ] = False,
    run: RunDir = LATEST,
) -> None:
    """Create a campaign for the running bench's vehicle."""
    driver = parse_rules(max_reminders=max_reminders, ask_before_download=ask_before_download, install_by=install_by)
    rollout = parse_rollout(waves=waves, success=success, errors=errors, per_minute=per_minute, start=start, end=end)
    conditions = parse_conditions(condition) or ()
    driver_texts = {} if texts is None else read_driver_texts(texts)
    bench = running.find(run)
    with bench.operator() as operator:
        wanted = _load_with_bases(bench, image or [], transfer)
        # The cloud cannot add an image to the Image repository. The bench's development keys do, as the offline signer of a fleet would.
        if not dry_run:
            _publish(bench, wanted, operator)
        campaign = operator.create_campaign(
            name=name,
            release_notes=notes,
            vins=[] if where else [bench.vin],
            where=where,
            dry_run=dry_run,
            images=wanted,
            transfer=transfer,
            encrypt=encrypt,
            conditions=conditions,
            texts=driver_texts,
            driver=driver,
            needs_approval=needs_approval,
            rollout=rollout,
        )
        if dry_run:
            _print_foreseen(campaign)
            return
        for each in wanted:
            if each.program is None:
                bench.sent_images.keep(each.image)
    print(f"{campaign.campaign_id}: {name}")
    for job in campaign.jobs:
        print(f"  {_job_line(job)}")


def _print_foreseen(campaign: ota_pb2.Campaign) -> None:
    print(f"dry run: for {len(campaign.jobs)} vehicles, not for {len(campaign.excluded)}; nothing was created")
    for job in campaign.jobs:
        print(f"  {printable(job.vin)}  yes")
    for each in campaign.excluded:
        print(f"  {printable(each.vin)}  no: {printable(each.reason)}")


def publish(
    image: Annotated[
        list[str] | None,
        typer.Option("--image", metavar="ECU=FILE", help="Can be repeated. Default: the bench's newest firmware."),
    ] = None,
    run: RunDir = LATEST,
) -> None:
    """Sign images and list them in the bench's Image repository.

    The offline keys sign. A campaign is refused for any other image. `otabench campaign create` publishes, too, because a bench has all
    keys in one folder.
    """
    bench = running.find(run)
    with bench.operator() as operator:
        _publish(bench, list(_load_images(bench, image or []).values()), operator)


def _publish(bench: RunningBench, wanted: list[CampaignImage], operator: OperatorClient) -> None:
    # Imported here: python-tuf takes a while to import, and the other commands do not sign.
    from otabench.bench.clients.publishing import publish as sign_and_publish

    for listed in sign_and_publish(Path(bench.content["keys"]), wanted, operator):
        running.note(f"published in the Image repository: {listed.hardware_id} {listed.version}")


def _load_with_bases(bench: RunningBench, given: list[str], transfer: TransferPolicy) -> list[CampaignImage]:
    """Return the images of a new campaign, each with the image that its ECU runs, if a patch may be made from it."""
    wanted = []
    for ecu, found in _load_images(bench, given).items():
        # Patches are made of images only.
        if found.program is None and transfer is not TransferPolicy.FULL:
            found = replace(found, base_image=bench.running_image(ecu, hardware_id=found.hardware_id))
        wanted.append(found)
    return wanted


def _load_images(bench: RunningBench, given: list[str]) -> dict[str, CampaignImage]:
    """Return the images of a command by ECU: those given, or the bench's newest firmware."""
    chosen = parse_images(given) or _newest_images(bench)
    hardware = {ecu["ecu"]: str(ecu["hardware_id"]) for ecu in bench.hmi.state()["ecus"]}
    loaded = {}
    for ecu, path in chosen.items():
        if ecu not in hardware:
            raise UnknownName("ECU", ecu, hardware, where="in this bench")
        loaded[ecu] = campaign_images.load(path, hardware_id=hardware[ecu])
    return loaded


def _newest_images(bench: RunningBench) -> dict[str, Path]:
    newest = {}
    for ecu, files in bench.content["firmware"].items():
        newest[ecu] = Path(files[_newest_version(list(files))])
    return newest


def _newest_version(versions: list[str]) -> str:
    try:
        return max(versions, key=image_format.ImageVersion.parse)
    except ValueError:
        # Versions of another order are in the order in which they were asked for.
        return versions[-1]


def list_all(run: RunDir = LATEST, as_json: AsJson = False) -> None:
    """List all campaigns, one line for each job."""
    with running.find(run).operator() as operator:
        campaigns = operator.list_campaigns()
    if as_json:
        print(json.dumps([_as_json(campaign) for campaign in campaigns], indent=1))
        return
    if not campaigns:
        print("no campaigns; `otabench campaign create` makes one")
    for campaign in campaigns:
        for line in (*rollout_lines(campaign), *map(_job_line, campaign.jobs)):
            print(f"{campaign.campaign_id}  {printable(campaign.name)}  {line}")


def release(campaign: Campaign = None, run: RunDir = LATEST) -> None:
    """Approve a campaign that needs a second person.

    The certificate of the bench's approver is used. No vehicle is offered the campaign before (`campaign create --needs-approval`). Whoever
    created a campaign cannot approve it.
    """
    with running.find(run).approver() as approver:
        found = approver.approve_campaign(campaign or running.newest_campaign(approver))
    print(f"{found.campaign_id}: approved by {printable(found.approved_by)}, created by {printable(found.created_by)}")


def show(campaign: Campaign = None, run: RunDir = LATEST, as_json: AsJson = False) -> None:
    """Show one campaign with its jobs and ECUs."""
    with running.find(run).operator() as operator:
        found = operator.get_campaign(campaign or running.newest_campaign(operator))
    if as_json:
        print(json.dumps(_as_json(found), indent=1))
        return
    print(f"{found.campaign_id}: {printable(found.name)}")
    for line in found.release_notes.splitlines():
        print(f"  {printable(line)}")
    for line in rollout_lines(found):
        print(f"  {line}")
    for job in found.jobs:
        print(f"  {_job_line(job)}")
        for line in report_lines(job):
            print(f"    {line}")
        for progress in job.progress:
            print(f"    {_progress_line(progress)}")


def watch(campaign: Campaign = None, run: RunDir = LATEST, as_json: AsJson = False) -> None:
    """Follow a campaign until all its jobs have ended.

    Print one line for each change. With --json, print one campaign on each line.
    """
    seen: set[str] = set()
    with running.find(run).operator() as operator:
        for found in operator.watch_campaign(campaign or running.newest_campaign(operator)):
            if as_json:
                print(json.dumps(_as_json(found), separators=(",", ":")), flush=True)
                continue
            for job in found.jobs:
                for line in (_job_line(job), *(f"  {_progress_line(progress)}" for progress in job.progress)):
                    if line not in seen:
                        seen.add(line)
                        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def cancel(
    campaign: Campaign = None,
    reason: Annotated[str, typer.Option("--reason", help="Sent to the vehicle.")] = "canceled by the operator",
    run: RunDir = LATEST,
) -> None:
    """Cancel those jobs of a campaign that can still be canceled."""
    with running.find(run).operator() as operator:
        canceled = operator.cancel_campaign(campaign or running.newest_campaign(operator), reason=reason)
    for job in canceled.jobs:
        print(_job_line(job))


def status(run: RunDir = LATEST, as_json: AsJson = False) -> None:
    """Show what the running bench is doing.

    Its processes, ECUs, bus loads and job.
    """
    bench = running.find(run)
    facts = _status_of(bench)
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    print(f"bench of {facts['vin']} in {facts['folder']}; driver's page {bench.hmi.link}")
    for name, process in facts["processes"].items():
        print(f"  {name:<16} {'runs' if process['runs'] else 'GONE'}  pid {process['pid']}")
    for ecu, state in facts["ecus"].items():
        print(f"  ECU {ecu}: {printable(state.get('error') or _ecu_state(state))}")
    for name, state in facts["bus_loads"].items():
        print(f"  {state['error'] if 'error' in state else bus_line('load of bus', name, state)}")
    job = facts["job"]
    if "error" in job:
        print(f"  {job['error']}")
        return
    reason = f" ({printable(job['reason'])})" if job["reason"] else ""
    print(f"  job {job['job_id']}: {job['state']}{reason}" if job["job_id"] else "  job none")


def _status_of(bench: RunningBench) -> dict[str, Any]:
    """Return the facts that `otabench status` shows. A part that does not answer has an ``error`` instead."""
    processes = {
        name: {"pid": process["pid"], "runs": bench.runs(name)} for name, process in bench.content["processes"].items()
    }
    loads = BusPorts.of(bench.content)
    return {
        "vin": bench.vin,
        "folder": str(bench.folder),
        "hmi": bench.content["hmi"],
        "processes": processes,
        "ecus": {ecu: _answer_or_error(bench.ecu(ecu).state) for ecu in bench.content["control_ports"]},
        "bus_loads": {bus: _answer_or_error(loads.load_of(bus).state) for bus in bench.content.get("bus_loads", {})},
        "job": _answer_or_error(lambda: _job_of(bench)),
    }


def _job_of(bench: RunningBench) -> dict[str, Any]:
    shown = bench.hmi.state()
    return {"job_id": shown.get("job_id", ""), "state": shown.get("job_state"), "reason": shown.get("reason", "")}


def _answer_or_error(read: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
    try:
        return dict(read())
    except EndpointError as error:
        return {"error": str(error)}


def _ecu_state(state: Mapping[str, Any]) -> str:
    slots = ", ".join(f"{slot['state']} {slot['version']}".strip() for slot in state["slots"])
    faults = ", ".join(fault["kind"] for fault in state["faults"]) or "none"
    inhibited = ", vehicle inhibited" if state.get("inhibited") else ""
    return f"power {state['power']}, {state['mode']}, slot {state['active_slot']} of [{slots}], faults: {faults}{inhibited}"


def _job_line(job: ota_pb2.Job) -> str:
    reason = f" ({printable(job.reason)})" if job.reason else ""
    return f"{printable(job.job_id)}  {printable(job.vin)}  {job_states.from_wire(job.state)}{reason}"


def _progress_line(progress: ota_pb2.EcuProgress) -> str:
    amount = f" {progress.bytes_done:,} of {progress.bytes_total:,} bytes" if progress.bytes_total else ""
    return f"{printable(progress.ecu)}: {printable(progress.phase)}{amount}"


def _as_json(campaign: ota_pb2.Campaign) -> dict[str, Any]:
    return dict(MessageToDict(campaign, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
