"""``otabench vehicle …``: the vehicles that the running bench's cloud knows, and their attributes."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from google.protobuf.json_format import MessageToDict

from otabench.bench.cli import running
from otabench.bench.cli.options import LATEST, AsJson, RunDir
from otabench.bench.errors import WrongUsage
from otabench.proto import ota_pb2
from otabench.proto.foreign_text import printable

Where = Annotated[
    str,
    typer.Option(
        "--where",
        metavar="FILTER",
        help="Only vehicles that match, such as 'region=eu and model_year>=2023' (docs/fleet.md).",
    ),
]


def list_vehicles(where: Where = "", run: RunDir = LATEST, as_json: AsJson = False) -> None:
    """List vehicles with their attributes and versions, in the order of their VINs.

    With --json, print one vehicle on each line.
    """
    with running.find(run).operator() as operator:
        for vehicle in operator.list_vehicles(where=where):
            print(json.dumps(_as_json(vehicle), separators=(",", ":")) if as_json else _line(vehicle))


def set_attributes(
    vin: Annotated[str, typer.Argument(help="The vehicle.")],
    attributes: Annotated[
        list[str], typer.Argument(metavar="NAME=VALUE...", help="Attributes; NAME= without a value removes one.")
    ],
    run: RunDir = LATEST,
) -> None:
    """Set attributes of a vehicle, by which `--where` finds it."""
    given = dict(map(_parse_attribute, attributes))
    kept = {name: value for name, value in given.items() if value}
    with running.find(run).operator() as operator:
        print(_line(operator.set_vehicle_attributes(vin, kept, remove=[name for name in given if name not in kept])))


def _parse_attribute(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise WrongUsage(f"{text[:40]!r} is not an attribute; write it as region=eu, or region= to remove it")
    return name, value


def _line(vehicle: ota_pb2.Vehicle) -> str:
    attributes = " ".join(f"{name}={value}" for name, value in sorted(vehicle.attributes.items()))
    ecus = ", ".join(f"{ecu.ecu} {ecu.software_version or '?'} ({ecu.hardware_id})" for ecu in vehicle.ecus)
    return printable("  ".join(part for part in (vehicle.vin, attributes, ecus) if part))


def _as_json(vehicle: ota_pb2.Vehicle) -> dict[str, Any]:
    return dict(MessageToDict(vehicle, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))
