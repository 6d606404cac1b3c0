"""How an ECU is reached over UDS: its ``EcuEndpoint`` and its security access secret, from bench file and key folder.

``otabench bench check`` needs both before a bench runs, and ``launcher.specs`` to start one. So they depend on the topology and the key
folder only.
"""

from __future__ import annotations

import re
from pathlib import Path

from otabench.bench.errors import BenchError
from otabench.bench.firmware.programs.program import MalformedProgram, ProgramFormat
from otabench.bench.topology.model import Topology
from otabench.bench.uds.endpoint import AuthenticationFiles, EcuEndpoint, FormerImage, SecurityChoice


def secret(topology: Topology, ecu: str, *, keys_dir: Path) -> str:
    """Return the ECU's security access secret: the bench file's, else the key folder's.

    Raises:
        BenchError: there is none.
    """
    security = topology.ecus[ecu].security
    if security.secret is not None:
        return security.secret
    if security.choices and security.secret_file is None and topology.ecus[ecu].kind == "board":
        return ""  # each of its secrets is a choice
    path = security.secret_file or keys_dir / "ecu" / f"{ecu}.secret"
    remedy = (
        f"correct ecus.{ecu}.security.secret_file"
        if security.secret_file
        else "make a new folder of keys by `otabench keys init DIR --bench FILE`, with this bench file"
    )
    # A simulated ECU computes HMAC-SHA-256 with 32 bytes; a board's algorithm has a length of its own.
    return _read_secret(path, ecu, remedy=remedy, has_any_length=topology.ecus[ecu].kind == "board")


def _read_secret(path: Path, ecu: str, *, remedy: str, has_any_length: bool) -> str:
    """Return the hexadecimal digits in a file. Raises BenchError."""
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise BenchError(f"{path}: the security access secret of {ecu} cannot be read: {reason}; {remedy}") from error
    if not re.fullmatch(r"([0-9a-fA-F]{2})+" if has_any_length else r"[0-9a-fA-F]{64}", found):
        expected = "hexadecimal digits in pairs" if has_any_length else "64 hexadecimal digits"
        raise BenchError(f"{path}: the security access secret of {ecu} is not {expected}; {remedy}")
    return found.lower()


def choices(topology: Topology, ecu: str) -> dict[str, SecurityChoice]:
    """Return the further secrets of an ECU, by the text that its flash profile chooses by.

    Raises:
        BenchError: a file cannot be read.
    """
    found = {}
    for text, given in topology.ecus[ecu].security.choices.items():
        secret = given.secret
        if given.secret_file is not None:
            remedy = f"correct ecus.{ecu}.security.choices.{text}.secret_file"
            secret = _read_secret(given.secret_file, ecu, remedy=remedy, has_any_length=True)
        found[text] = SecurityChoice(security_secret=(secret or "").lower(), security_algorithm=given.algorithm)
    return found


def authentication(topology: Topology, ecu: str) -> AuthenticationFiles | None:
    """Return what the tester authenticates itself with to an ECU; None: nothing."""
    given = topology.ecus[ecu].authentication
    return None if given is None else AuthenticationFiles(certificate=given.certificate, key=given.key)


def endpoint(topology: Topology, ecu: str, *, keys_dir: Path) -> EcuEndpoint:
    """Return an ECU as the gateway reaches it.

    Raises:
        BenchError: its secret or its former image cannot be read.
    """
    entry = topology.ecus[ecu]
    return EcuEndpoint(
        name=ecu,
        bus=topology.buses[entry.bus].can_arguments(),
        request_id=entry.request_id,
        response_id=entry.response_id,
        functional_id=entry.functional_id,
        isotp=topology.isotp_of(ecu),
        serial=topology.serial_of(ecu),
        hardware_id=entry.hardware_id,
        profile=entry.profile,
        security_secret=secret(topology, ecu, keys_dir=keys_dir),
        security_algorithm=entry.security.algorithm,
        security_choices=choices(topology, ecu),
        authentication=authentication(topology, ecu),
        former_image=_former_image(topology, ecu),
        settings=entry.settings,
    )


def _former_image(topology: Topology, ecu: str) -> FormerImage | None:
    """Return the former image of a board that the bench file names, or None.

    Raises:
        BenchError: it cannot be read.
    """
    given = topology.ecus[ecu].former_image
    if given is None:
        return None
    # Imported here: it costs 50 ms, mostly of the ELF reader, and most benches name no former image.
    from otabench.bench.firmware.programs import reading

    where = f"ecus.{ecu}.former_image"
    try:
        found = reading.format_of(given.file.read_bytes())
    except OSError as error:
        raise BenchError(f"{where}: {given.file}: {error.strerror}; check the path") from error
    except MalformedProgram as error:
        raise BenchError(f"{where}: {given.file}: {error}") from error
    is_container = found is ProgramFormat.MCUBOOT
    return FormerImage(
        version=given.version,
        file=given.file,
        # None: an MCUboot image, which contains its own version.
        file_format=None if is_container else found.value,
        start_address=given.address,
    )


def all_endpoints(topology: Topology, *, keys_dir: Path) -> tuple[EcuEndpoint, ...]:
    """Return all ECUs as the gateway reaches them, in the bench file's order.

    Raises:
        BenchError: a secret or a former image cannot be read.
    """
    return tuple(endpoint(topology, ecu, keys_dir=keys_dir) for ecu in topology.ecus)
