"""``otabench keys init`` and ``otabench firmware build | pack | info``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from otabench.bench.errors import FirmwareError
from otabench.bench.firmware import images
from otabench.bench.topology import bench_file as topology


def make_keys(folder: Path, *, bench_file: Path | None) -> None:
    """Makes the keys of a bench file's vehicle.

    Raises:
        BenchError: the bench file is wrong, or the keys could not be made.
    """
    from otabench.bench.launcher import bench

    with tempfile.TemporaryDirectory(prefix="otabench-keys-") as work:
        bench.make_keys(folder, topology.load(bench_file), log=Path(work) / "keys.log")
    print(f"keys made in {folder}; keep them secret, they sign what your ECUs take")


def build(
    *,
    keys_dir: Path,
    out_dir: Path,
    ecus: tuple[str, ...],
    versions: tuple[str, ...],
    requires: tuple[str, ...],
    bench_file: Path | None,
) -> None:
    """Makes images.

    Raises:
        BenchError: see ``firmware.build``.
    """
    made = images.build(
        topology.load(bench_file),
        keys_dir=keys_dir,
        out_dir=out_dir,
        ecus=ecus,
        versions=versions or images.BENCH_VERSIONS,
        requires=requires,
    )
    for by_version in made.values():
        for file in by_version.values():
            print(
                f"{file.path}  {file.length_bytes:,} bytes  {file.ecu} {file.version}, security counter {file.security_counter}"
            )


def pack(
    file: Path,
    *,
    ecu: str,
    version: str,
    keys_dir: Path,
    out: Path | None,
    security_counter: int | None,
    requires: tuple[str, ...],
    bench_file: Path | None,
) -> None:
    """Wraps a raw binary.

    Raises:
        BenchError: see ``firmware.pack``.
    """
    known = topology.load(bench_file)
    entry = known.ecus.get(ecu)
    if entry is None:
        raise FirmwareError(f"there is no ECU {ecu!r} in the bench file; known: {', '.join(known.ecus)}")
    dependencies = images.parse_requirements(requires, ecu=ecu, topology=known)
    try:
        body = file.read_bytes()
    except OSError as error:
        raise FirmwareError(f"{file}: {error.strerror}; check the path") from error
    made = images.pack(
        body,
        ecu=ecu,
        hardware_id=entry.hardware_id,
        version=version,
        keys_dir=keys_dir,
        out=out or Path(f"{entry.hardware_id}-{version}.bin"),
        slot_size_bytes=entry.slot_size_bytes,
        security_counter=security_counter,
        dependencies=dependencies,
    )
    print(f"{made.path}  {made.length_bytes:,} bytes  {ecu} {made.version}, security counter {made.security_counter}")


def info(file: Path, *, bench_file: Path | None) -> None:
    """Prints what an image says of itself.

    Raises:
        BenchError: see ``firmware.describe``.
    """
    for label, text in images.describe(file, topology.load(bench_file)).items():
        print(f"{label:<17} {text}")
