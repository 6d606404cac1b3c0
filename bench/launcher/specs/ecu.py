"""A simulated ECU's process."""

from __future__ import annotations

from typing import Any

from otabench.bench.errors import WrongUsage
from otabench.bench.faults.control_port import ControlPort
from otabench.bench.faults.frame_gate import far_channel
from otabench.bench.firmware.images import FirmwareFile
from otabench.bench.launcher import endpoints
from otabench.bench.launcher.process import PYTHON, ProcessSpec
from otabench.bench.launcher.run_setup import RunSetup
from otabench.bench.launcher.specs.config_file import write_config
from otabench.bench.launcher.specs.names import ecu_process
from otabench.bench.launcher.specs.personality import factory_memory, personality_of
from otabench.bench.uds.errors import FlashError
from otabench.proto.process_config import EcuConfig, EcuTiming


def simulated_ecu(setup: RunSetup, name: str, factory: FirmwareFile) -> ProcessSpec:
    """Return a simulated ECU, delivered with ``factory``.

    Raises:
        WrongUsage: its trial ends before the gateway's soak does.
    """
    entry = setup.topology.ecus[name]
    process = ecu_process(name)
    personality = personality_of(setup.topology, name)
    config = EcuConfig(
        name=name,
        vin=setup.topology.vehicle.vin,
        serial=setup.topology.serial_of(name),
        hardware_id=entry.hardware_id,
        part_number=setup.topology.part_number_of(name),
        bus=_far_side(setup, entry.bus),
        request_id=entry.request_id,
        response_id=entry.response_id,
        functional_id=entry.functional_id,
        isotp=setup.topology.isotp_of(name),
        timing=_timing(setup, name),
        security_secret=endpoints.secret(setup.topology, name, keys_dir=setup.keys_dir),
        security_algorithm=entry.security.algorithm,
        authentication_root=entry.authentication.root if entry.authentication is not None else None,
        state_file=setup.folder.state / f"{process}.bin",
        personality=personality,
        factory_image=factory.path if personality is None else factory_memory(setup, name, factory),
        factory_versions={setup.topology.image_number_of(ecu): factory.version for ecu in setup.topology.simulated()},
        image_public_key=setup.keys.image_public_key,
        director_root=setup.keys.director_root,
        decryption_key=setup.keys.decryption_key(name),
        report_key=setup.keys.report_key(name) if personality is None else None,
        slot_size_bytes=entry.slot_size_bytes,
        declared_ram_bytes=entry.declared_ram_bytes,
        locked_services=entry.locked_services,
        control_port=setup.ports.control[name],
        control_token=setup.secrets.control_token,
        trace=setup.folder.trace,
        periodic=entry.periodic,
        inhibit=setup.topology.vehicle.inhibit,
    )
    control = ControlPort(name, setup.ports.control[name], token=setup.secrets.control_token)
    return ProcessSpec(
        name=process,
        argv=[*PYTHON, "otabench.ecu_firmware_sim", "--config", str(write_config(setup, process, config))],
        log=setup.folder.log(process),
        ready=control.is_up,
        awaited=f"its control port {control.port} does not answer",
    )


def _timing(setup: RunSetup, name: str) -> EcuTiming:
    entry = setup.topology.ecus[name]
    timing = EcuTiming.model_validate({**entry.timing.model_dump(), **setup.options.ecu_timing})
    soak_s = setup.options.gateway_timing.get("soak_s")
    if soak_s is None:
        # Imported here, because it imports the whole flashing client.
        from otabench.bench.uds import flash_profiles

        try:
            soak_s = flash_profiles.load(entry.profile).soak.time_s
        except FlashError:
            return timing  # the gateway reports what is wrong with the profile
    if soak_s >= timing.trial_confirm_timeout_s:
        raise WrongUsage(
            f"ecus.{name}.timing.trial_confirm_timeout_s: {timing.trial_confirm_timeout_s:g} s, but the gateway watches "
            f"trials for {soak_s:g} s (soak) before it confirms them: every update would be rolled back; give the ECU "
            "longer, or shorten the soak (soak_s of the gateway's timing, or soak.time_s of the flash profile)"
        )
    return timing


def _far_side(setup: RunSetup, bus: str) -> dict[str, Any]:
    """Return how an ECU opens its bus: behind the frame gate, if the bus has one."""
    arguments = setup.topology.buses[bus].can_arguments()
    return {**arguments, "channel": far_channel(str(arguments["channel"]))} if bus in setup.ports.gates else arguments
