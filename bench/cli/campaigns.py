"""Commands that speak with the running bench: campaigns, status, faults.

Decides how they print. Everything is asked of the bench's own processes, through the endpoints in its bench.json.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from otabench.bench.clients import running_bench
from otabench.bench.clients.running_bench import RunningBench
from otabench.bench.errors import EndpointError, NoRunningBench, WrongUsage
from otabench.bench.faults import control_port
from otabench.bench.faults.load_plan import LOAD_KIND
from otabench.bench.firmware import images as firmware
from otabench.bench.launcher.bus_faults import BusPorts
from otabench.bench.launcher.options import Transfer
from otabench.proto import image_format, job_states, ota_pb2

_POWER: Final = ("on", "off", "cycle")


def create(run: Path, *, name: str, notes: str, images: list[str], transfer: Transfer, encrypt: bool = False) -> None:
    """Makes a campaign.

    Raises:
        BenchError: no bench, no such ECU or file, or the cloud refuses.
    """
    from otabench.bench.clients.operator import CampaignImage

    bench = running_bench.find(run)
    chosen = _given_images(images) or _newest_images(bench)
    states = {ecu: bench.ecu(ecu).state() for ecu in bench.content["control_ports"] if ecu in chosen}
    with bench.operator() as operator:
        hardware = {ecu["ecu"]: str(ecu["hardware_id"]) for ecu in bench.hmi.state()["ecus"]}
        wanted = []
        for ecu, path in chosen.items():
            if ecu not in hardware:
                raise WrongUsage(f"there is no ECU {ecu!r} in this bench; known: {', '.join(hardware)}")
            _, data = firmware.read(path)
            state = states.get(ecu)
            base = bench.image(ecu, str(state["slots"][state["active_slot"]]["version"])) if state else None
            wanted.append(
                CampaignImage(hardware[ecu], data, base.read_bytes() if base and transfer is not Transfer.FULL else b"")
            )
        campaign = operator.create_campaign(
            name=name, release_notes=notes, vins=[bench.vin], images=wanted, transfer=transfer, encrypt=encrypt
        )
    print(f"{campaign.campaign_id}: {name}")
    for job in campaign.jobs:
        print(f"  {_job_line(job)}")


def _given_images(texts: list[str]) -> dict[str, Path]:
    given = {}
    for text in texts:
        ecu, separator, file = text.partition("=")
        if not ecu or not separator or not file:
            raise WrongUsage(f"--image {text!r}: expected ECU=FILE, such as engine=engine-2.0.0.bin")
        given[ecu] = Path(file)
    return given


def _newest_images(bench: RunningBench) -> dict[str, Path]:
    newest = {}
    for ecu, files in bench.content["firmware"].items():
        version = max(files, key=image_format.ImageVersion.parse)
        newest[ecu] = Path(files[version])
    return newest


def list_all(run: Path) -> None:
    """Prints all campaigns.

    Raises:
        BenchError: no bench, or the cloud does not answer.
    """
    with running_bench.find(run).operator() as operator:
        campaigns = operator.list_campaigns()
    if not campaigns:
        print("no campaigns; `otabench campaign create` makes one")
    for campaign in campaigns:
        for job in campaign.jobs:
            print(f"{campaign.campaign_id}  {campaign.name}  {_job_line(job)}")


def show(run: Path, campaign_id: str | None) -> None:
    """Prints one campaign.

    Raises:
        BenchError: no bench, no such campaign.
    """
    bench = running_bench.find(run)
    with bench.operator() as operator:
        campaign = operator.get_campaign(campaign_id or _newest(bench))
    print(f"{campaign.campaign_id}: {campaign.name}")
    for line in campaign.release_notes.splitlines():
        print(f"  {line}")
    for job in campaign.jobs:
        print(f"  {_job_line(job)}")
        for ecu in job.ecus:
            slots = ", ".join(_slot(slot) for slot in ecu.slots)
            print(f"    {ecu.ecu} ({ecu.hardware_id}): {ecu.software_version}, slots: {slots}")
        for progress in job.progress:
            print(f"    {_progress_line(progress)}")


def watch(run: Path, campaign_id: str | None) -> None:
    """Prints a campaign's changes until it has ended.

    Raises:
        BenchError: no bench, no such campaign.
    """
    bench = running_bench.find(run)
    seen: set[str] = set()
    with bench.operator() as operator:
        for campaign in operator.watch_campaign(campaign_id or _newest(bench)):
            for job in campaign.jobs:
                lines = [_job_line(job), *(f"  {_progress_line(progress)}" for progress in job.progress)]
                for line in lines:
                    if line not in seen:
                        seen.add(line)
                        print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def cancel(run: Path, campaign_id: str | None, *, reason: str) -> None:
    """Cancels a campaign.

    Raises:
        BenchError: no bench, no such campaign, or it has gone too far.
    """
    bench = running_bench.find(run)
    with bench.operator() as operator:
        campaign = operator.cancel_campaign(campaign_id or _newest(bench), reason=reason)
    for job in campaign.jobs:
        print(_job_line(job))


def status(run: Path) -> None:
    """Prints what the bench is doing.

    Raises:
        BenchError: no bench.
    """
    bench = running_bench.find(run)
    print(f"bench of {bench.vin} in {run.resolve()}; HMI {bench.content['hmi']}")
    for name, process in bench.content["processes"].items():
        alive = Path(f"/proc/{process['pid']}").exists()
        print(f"  {name:<16} {'runs' if alive else 'GONE'}  pid {process['pid']}")
    for ecu in bench.content["control_ports"]:
        try:
            state = bench.ecu(ecu).state()
        except EndpointError as error:
            print(f"  ECU {ecu}: {error}")
            continue
        slots = ", ".join(f"{slot['state']} {slot['version']}".strip() for slot in state["slots"])
        faults = ", ".join(fault["kind"] for fault in state["faults"]) or "none"
        print(
            f"  ECU {ecu}: power {state['power']}, {state['mode']}, slot {state['active_slot']} of [{slots}], faults: {faults}"
        )
    for name in bench.content.get("bus_loads", {}):
        port = BusPorts.of(bench.content).load_of(name)
        try:
            print(f"  {_bus_line(port.what, name, port.state())}")
        except EndpointError as error:
            print(f"  {error}")
    try:
        shown = bench.hmi.state()
    except EndpointError as error:
        print(f"  {error}")
        return
    job = f"{shown['job_id']}: {shown['job_state']}" if shown.get("job_id") else "none"
    reason = f" ({shown['reason']})" if shown.get("reason") else ""
    print(f"  job {job}{reason}")


def fault(run: Path, ecu: str, kind: str, parameters: list[str]) -> None:
    """Sets a fault of an ECU or a bus, clears all, or switches power.

    Raises:
        BenchError: no bench, no such ECU, bus or kind, or it is refused.
    """
    if kind == "list":
        for name, text in (control_port.FAULT_KINDS | control_port.NO_FAULTS).items():
            print(f"{name:<19} {text}")
        return
    bench = running_bench.find(run)
    buses = BusPorts.of(bench.content)
    if buses.concerns(ecu, kind):
        _bus_fault(buses, ecu, kind, parameters)
        return
    port = bench.ecu(ecu)
    if kind == "clear":
        port.clear()
    elif kind in _POWER:
        port.power(kind)
    else:
        port.fault(kind, **control_port.parse_parameters(parameters))
    faults = ", ".join(control_port.shown(found) for found in port.state()["faults"]) or "none"
    print(f"{ecu}: power {port.state()['power']}, faults: {faults}")


def _bus_fault(buses: BusPorts, target: str, kind: str, parameters: list[str]) -> None:
    if kind == "clear":
        ports = [buses.load_of(target)]
        ports += [buses.gate_of(target)] if ports[0].ecu in buses.gates else []
        for port in ports:
            port.clear()
            print(_bus_line(port.what, port.ecu, port.state()))
        return
    given = control_port.parse_parameters(parameters, kind=control_port.checked_kind(kind))
    state = buses.set_fault(target, kind, given)
    if kind == LOAD_KIND:
        port = buses.load_of(target)
        print(_bus_line(port.what, port.ecu, port.state()))
    else:
        print(_bus_line("frame gate", target, state))


def _bus_line(what: str, name: str, state: dict[str, Any]) -> str:
    if "frames" in state:
        faults = ", ".join(f"{found['kind']} (acted {found['acted']})" for found in state["faults"]) or "none"
        return f"{name}: frames seen {sum(state['frames'].values())}, faults: {faults}, seed {state['seed']}"
    if not state["faults"]:
        return f"{what} {name}: none"
    measured, whole = state["measured_percent"], state["bus_percent"]
    return (
        f"{what} {name}: asked {state['asked_percent']:g} %, measured {_percent(measured)}, all traffic {_percent(whole)}; "
        f"{state['frames_per_s']} frames/s of {state['identifiers']} identifiers, {state['faults'][0]['ids']}, "
        f"seed {state['seed']}"
    )


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:.1f} %"


def _newest(bench: RunningBench) -> str:
    with bench.operator() as operator:
        campaigns = operator.list_campaigns()
    if not campaigns:
        raise NoRunningBench("this bench has no campaign yet; `otabench campaign create` makes one")
    return max(campaigns, key=lambda campaign: campaign.created_at).campaign_id


def _job_line(job: ota_pb2.Job) -> str:
    reason = f" ({job.reason})" if job.reason else ""
    return f"{job.job_id}  {job.vin}  {job_states.from_wire(job.state)}{reason}"


def _progress_line(progress: ota_pb2.EcuProgress) -> str:
    amount = f" {progress.bytes_done:,} of {progress.bytes_total:,} bytes" if progress.bytes_total else ""
    return f"{progress.ecu}: {progress.phase}{amount}"


def _slot(slot: ota_pb2.Slot) -> str:
    state = ota_pb2.SlotState.Name(slot.state).removeprefix("SLOT_STATE_")
    return f"{state} {slot.version}".strip()
