"""``otabench firmware build | pack | info``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from otabench.bench.cli import passphrases
from otabench.bench.cli.options import LATEST, AsJson, BenchFile, KeysDir, RunDir, with_options
from otabench.bench.cli.passphrases import PassphraseFile
from otabench.bench.cli.running import note
from otabench.bench.clients import running_bench
from otabench.bench.errors import FirmwareError, NoRunningBench, UnknownName, WrongUsage
from otabench.bench.firmware import ecu_facts, images, program_files, versions
from otabench.bench.firmware.images import ImageDetails
from otabench.bench.firmware.program_files import ProgramDetails
from otabench.bench.firmware.programs import reading
from otabench.bench.firmware.programs.program import ProgramFormat
from otabench.bench.topology import bench_file
from otabench.bench.topology.model import Topology
from otabench.proto import image_format
from otabench.proto.program_format import MAX_ADDRESS
from otabench.proto.uptane import FORMATS_WITHOUT_ADDRESSES
from otabench.proto.version_order import path_part

_KEYS: Final = Path("keys")
_Requires = Annotated[
    list[str] | None,
    typer.Option(
        "--requires", metavar="ECU>=VERSION", help="A version that it needs of another ECU: 'adas>=2.0.0'; repeatable."
    ),
]


def build(
    keys: KeysDir = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where images are written.")] = Path("firmware"),
    ecu: Annotated[list[str] | None, typer.Option("--ecu", metavar="NAME", help="Only this ECU; repeatable.")] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", metavar="VERSION", help="By default 1.0.0 and 2.0.0; repeatable.")
    ] = None,
    requires: _Requires = None,
    bench: BenchFile = None,
    run: RunDir = LATEST,
) -> None:
    """Make images whose binaries behave like compiled code.

    One image for each ECU of the bench file and each version. The running bench's keys sign them, by its bench file, unless others
    are given.
    """
    used, bench = _keys_and_bench_file(keys, bench, run)
    with _missing_keys_explained(keys, run):
        made = images.build(
            bench_file.load(bench),
            keys_dir=used,
            out_dir=out,
            ecus=tuple(ecu or ()),
            versions=tuple(version or ()) or images.BENCH_VERSIONS,
            requires=tuple(requires or ()),
        )
    for by_version in made.values():
        for file in by_version.values():
            print(_line(file))


@dataclass(frozen=True)
class PackOptions:
    """The options of `otabench firmware pack`."""

    ecu: Annotated[str, typer.Option("--ecu", help="The ECU that it is for, by its name in the bench file.")]
    version: Annotated[
        str, typer.Option("--version", help="2.0.0 or 2.0.0+5; of a program file any text that its ECU's order takes.")
    ]
    keys: KeysDir = None
    passphrase_file: PassphraseFile = None
    rxswin: Annotated[
        str, typer.Option("--rxswin", metavar="TEXT", help="RXSWIN (UN R156) that the ECU then reports; ASCII.")
    ] = ""
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="By default <hardware id>-<version>.bin.")
    ] = None
    security_counter: Annotated[
        int | None, typer.Option(min=0, max=image_format.MAX_SECURITY_COUNTER, help="By default the major version.")
    ] = None
    requires: _Requires = None
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="ADDRESS", help="Start address of a raw binary, for an ECU that takes program files."
        ),
    ] = None
    as_raw: Annotated[
        bool, typer.Option("--raw", help="Take the file as a raw binary, whatever its contents look like.")
    ] = False
    session: Annotated[str | None, typer.Option(help="Name of the flash session in an ODX-F or PDX container.")] = None
    bench: BenchFile = None
    run: RunDir = LATEST


@with_options
def pack(
    options: PackOptions,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Raw binary, HEX, S-record, ELF, VBF, ODX-F or PDX.")],
) -> None:
    """Pack your own program in the form that an ECU takes.

    That is a signed MCUboot image or a checked program file, whichever the ECU's flash profile requires. The format of the file is
    recognized by its contents.

    In an image, gaps between segments are filled with FF, as erased flash reads. The running bench's keys sign it, by its bench file,
    unless others are given. A program file stays as it is. Beside it a .json file states its version and contents, which the cloud signs.
    """
    topology = bench_file.load(_used_bench_file(options))
    if options.ecu not in topology.ecus:
        raise UnknownName("ECU", options.ecu, topology.ecus, where="in the bench file")
    if ecu_facts.of(topology, options.ecu).payload == "raw":
        _pack_program(options, file, topology)
    else:
        _pack_image(options, file)


def _pack_program(options: PackOptions, file: Path, topology: Topology) -> None:
    facts, entry = ecu_facts.of(topology, options.ecu), topology.ecus[options.ecu]
    for given, option in (
        (options.requires, "--requires"),
        (options.security_counter is not None, "--security-counter"),
        (options.session, "--session"),
        (options.rxswin, "--rxswin"),
    ):
        if given:
            raise WrongUsage(f"{option}: {options.ecu} takes program files, which do not have it; leave it out")
    address = facts.address if options.address is None else _address(options.address)
    details = ProgramDetails(
        options.ecu, entry.hardware_id, options.version, facts.versions.rule, address, facts.memory
    )
    out = options.out or Path(f"{entry.hardware_id}-{path_part(options.version)}{file.suffix or '.bin'}")
    made = program_files.pack(file, details, out=out, as_raw=options.as_raw)
    payload = made.statement.payload
    print(f"{file}: {payload.format}, {', '.join(map(str, payload.segments[:8]))}")
    print(f"{made.path}  {made.length_bytes:,} bytes  {options.ecu} {options.version}, stated in {made.path}.json")


def _address(text: str) -> int:
    try:
        address = int(text, 0)
    except ValueError:
        address = -1
    if not 0 <= address <= MAX_ADDRESS:
        raise WrongUsage(f"--address {text!r}: expected a number such as 0x08000000, up to 0x{MAX_ADDRESS:X}")
    return address


def _pack_image(options: PackOptions, file: Path) -> None:
    if options.address is not None:
        raise WrongUsage(f"--address: {options.ecu} takes MCUboot images, which have a slot; leave it out")
    keys, bench = _keys_and_bench_file(options.keys, options.bench, options.run)
    topology = bench_file.load(bench)
    entry = topology.ecus[options.ecu]
    versions.require(ecu_facts.of(topology, options.ecu).versions.rule, options.ecu, options.version)
    details = ImageDetails(
        ecu=options.ecu,
        hardware_id=entry.hardware_id,
        version=options.version,
        slot_size_bytes=entry.slot_size_bytes,
        security_counter=options.security_counter,
        dependencies=images.parse_requirements(tuple(options.requires or ()), ecu=options.ecu, topology=topology),
        rxswin=options.rxswin,
    )
    program, binary = reading.read_binary(
        file, max_bytes=entry.slot_size_bytes, as_raw=options.as_raw, session=options.session
    )
    out = options.out or Path(f"{entry.hardware_id}-{options.version}.bin")
    with (
        _missing_keys_explained(options.keys, options.run),
        passphrases.unsealed_signing_key(keys, options.passphrase_file) as signing,
    ):
        made = images.pack(binary, details, keys_dir=signing, out=out)
    if program.format is not ProgramFormat.RAW:
        print(f"{file}: {program.format}, {', '.join(map(str, program.segments))}")
    print(_line(made))


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE")], bench: BenchFile = None, as_json: AsJson = False
) -> None:
    """Show what an image or a program file contains.

    Of an image: version, size, security counter, ECU, dependencies, hash and signature. Of a program file: format, segments, hash, and what
    `otabench firmware pack` stated about it.
    """
    is_program = (
        program_files.statement_of(file) is not None or reading.read_format(file) not in FORMATS_WITHOUT_ADDRESSES
    )
    facts = program_files.describe(file) if is_program else images.describe(file, bench_file.load(bench))
    if as_json:
        print(json.dumps(facts, indent=1))
        return
    for label, text in facts.items():
        print(f"{label:<17} {text}")


def _keys_and_bench_file(keys: Path | None, bench: Path | None, run: Path) -> tuple[Path, Path | None]:
    """Return the keys to sign with, and the bench file: those given, else the running bench's, else ``keys`` and the built-in one.

    Whose keys sign is printed to stderr: an image that another bench's keys sign is refused much later, by the cloud.
    """
    if keys is not None:
        return keys, bench
    found = running_bench.published_keys(run)
    if found is not None:
        note(f"signed with the keys of the bench in {found.run}; --keys DIR signs with others")
        return found.folder, bench or found.bench_file
    if _KEYS.is_dir():
        note(f"signed with the folder {_KEYS}, as no bench is up in {run}; --keys DIR signs with others")
    return _KEYS, bench


def _used_bench_file(options: PackOptions) -> Path | None:
    """Return the bench file that counts, as ``_keys_and_bench_file`` does, without a word about keys."""
    if options.bench is not None or options.keys is not None:
        return options.bench
    found = running_bench.published_keys(options.run)
    return found.bench_file if found is not None else None


@contextmanager
def _missing_keys_explained(given: Path | None, run: Path) -> Iterator[None]:
    """Say where keys were looked for, if none were given and there are none. What else is wrong is reported first."""
    try:
        yield
    except FirmwareError as error:
        if given is not None or _KEYS.is_dir() or running_bench.published_keys(run) is not None:
            raise
        raise NoRunningBench(
            f"there are no keys to sign with: no bench is up in {run}, and there is no folder {_KEYS}; start a bench (`make up`), "
            f"give --keys DIR, or make keys by `otabench keys init {_KEYS}`"
        ) from error


def _line(file: images.FirmwareFile) -> str:
    counter = f"security counter {file.security_counter}"
    return f"{file.path}  {file.length_bytes:,} bytes  {file.ecu} {file.version}, {counter}"
