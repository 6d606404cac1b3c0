"""``otabench bench check`` and ``bench init``."""

from __future__ import annotations

from pathlib import Path

from bench import topology
from bench.errors import BenchError


def check(file: Path | None) -> None:
    """Prints what is in a bench file.

    Raises:
        BenchFileError: it is wrong.
    """
    found = topology.load(file)
    print(f"{file or topology.DEFAULT_NAME}: fine. Vehicle {found.vehicle.vin}")
    for name, bus in found.buses.items():
        print(
            f"  bus {name}: {bus.interface} {bus.channel}, {bus.bitrate // 1000} kbit/s{', CAN FD' if bus.fd else ''}"
        )
    for name, ecu in found.ecus.items():
        print(
            f"  ECU {name}: {ecu.kind} {ecu.hardware_id} on {ecu.bus}, 0x{ecu.request_id:X}/0x{ecu.response_id:X}, "
            f"profile {ecu.profile}, serial {found.serial_of(name)}"
        )


def init(file: Path) -> None:
    """Writes the default bench file.

    Raises:
        BenchError: it is there already or cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(topology.default_text())
    except FileExistsError as error:
        raise BenchError(f"{file} is there already; choose another name") from error
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}; choose another place") from error
    print(f"{file} written; `otabench bench check {file}` tells whether it is right")
