"""The keys of a bench: made by the cloud's own command, as the bench never imports it; and whether a folder has them all."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from otabench.bench.errors import ProcessFailed
from otabench.bench.finding import Finding, fail
from otabench.bench.launcher import readiness
from otabench.bench.launcher.process import PYTHON, Process, ProcessSpec
from otabench.bench.topology.model import Topology

_KEYS_TIMEOUT_S: Final = 60.0
_PEERS: Final = ("tls/cloud", "tls/operator", "tls/broker", "tls/events")


def make_keys(
    keys_dir: Path,
    topology: Topology,
    *,
    log: Path,
    offline: Path | None = None,
    passphrase_file: Path | None = None,
    timeout_s: float = _KEYS_TIMEOUT_S,
) -> None:
    """Make the bench's keys by ``python -m otabench.cloud keys init``.

    Args:
        keys_dir: the folder to make.
        topology: the vehicle and the ECUs that the keys are for.
        log: where the output of the command goes.
        offline: another folder to make, for what the cloud must not have. None: it is in ``keys_dir``, too.
        passphrase_file: its first line seals the private keys of ``offline``. None: they are not sealed.
        timeout_s: how long it may take.

    Raises:
        ProcessFailed: that went wrong; the message quotes it.
    """
    argv = [*PYTHON, "otabench.cloud", "keys", "init", str(keys_dir), "--vin", topology.vehicle.vin]
    for name in topology.ecus:
        argv += ["--ecu", name]
    if offline is not None:
        argv += ["--offline", str(offline)]
    if passphrase_file is not None:
        argv += ["--passphrase-file", str(passphrase_file)]
    # In a process, because the cloud's code is not imported here (one of the rules that tests/test_layering.py
    # holds).
    maker = Process(ProcessSpec("keys", argv, log, ready=lambda: True))
    maker.start()
    if not maker.wait(timeout_s):
        maker.kill()
        raise ProcessFailed(f"keys: making them took more than {timeout_s:.0f} s. {readiness.remedy()}", process="keys")
    if maker.exit_status != 0:
        words = " ".join(log.read_text(encoding="utf-8").split()) or f"status {maker.exit_status}"
        raise ProcessFailed(f"keys: {keys_dir} could not be made: {words}", process="keys", log=log)


def folder_problem(keys_dir: Path, topology: Topology) -> Finding | None:
    """Return what is missing in a folder of keys for this bench file; None if it has everything."""
    if not keys_dir.is_dir():
        return fail("keys", f"there is no folder {keys_dir}", f"`otabench keys init {keys_dir} --bench FILE` makes it")
    own_secret = {
        name for name, ecu in topology.ecus.items() if ecu.security.secret or ecu.security.secret_file is not None
    }
    vehicle = f"tls/vehicle-{topology.vehicle.vin}"
    names = ["director/root.json", *(f"director/{role}.pem" for role in ("targets", "snapshot", "timestamp"))]
    names += ["image/signing.pem", "image/signing.pub.pem", "tls/ca.pem"]
    names += [f"{who}.{end}" for who in (vehicle, *_PEERS) for end in ("pem", "key")]
    names += [f"ecu/{name}.secret" for name in topology.ecus if name not in own_secret]
    missing = [name for name in names if not (keys_dir / name).is_file()]
    if not missing:
        return None
    remedy = "`otabench keys init` makes a whole folder, in another place"
    return fail("keys", f"missing in {keys_dir}: {', '.join(missing)}", remedy)
