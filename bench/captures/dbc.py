"""Make a DBC of the bench file's periodic frames with cantools. candump logs, CANoe, SavvyCAN and Wireshark use its names.

It contains the frames of the ECUs of one bus. ``proto.periodic`` has the layout.
"""

from __future__ import annotations

from collections import Counter

from cantools.database import Database, Message, Signal
from cantools.database.can import Node
from cantools.database.conversion import BaseConversion
from cantools.database.errors import Error as CantoolsError

from otabench.bench.errors import BenchError, UnknownName, WrongUsage
from otabench.bench.topology.model import Topology
from otabench.proto.periodic import PeriodicFrame


def text(topology: Topology, *, bus: str | None = None) -> str:
    """Return the DBC of one bus.

    Args:
        topology: the bench file.
        bus: the name of the bus in the bench file. None: the only bus that has periodic frames.

    Raises:
        WrongUsage: the bus does not exist, or ``bus`` is None and several buses have periodic frames.
        BenchError: there are no periodic frames, two have the same identifier or name, or cantools rejects them.
    """
    if bus is not None and bus not in topology.buses:
        raise UnknownName("bus", bus, topology.buses, where="in the bench file")
    senders = {name: entry for name, entry in topology.ecus.items() if entry.periodic and bus in (None, entry.bus)}
    buses = list(dict.fromkeys(entry.bus for entry in senders.values()))
    if len(buses) > 1:
        raise WrongUsage(f"periodic frames stand on {', '.join(buses)}; choose one by --bus")
    if not senders:
        raise BenchError("no ECU of the bench file has periodic frames; give it some below `periodic`")
    frames = [frame for entry in senders.values() for frame in entry.periodic]
    for keys in ([f"identifier 0x{frame.id:X}" for frame in frames], [f"name {frame.name}" for frame in frames]):
        for key, count in Counter(keys).items():
            if count > 1:
                raise BenchError(f"periodic frames: the {key} stands {count} times on the bus; give each frame its own")
    try:
        database = Database(
            messages=[_message(frame, ecu) for ecu, entry in senders.items() for frame in entry.periodic],
            nodes=[Node(name) for name in senders],
            version=topology.vehicle.vin,
        )
        return str(database.as_dbc_string())
    except CantoolsError as error:
        raise BenchError(f"cannot make a DBC from the periodic frames: {error}; correct the bench file") from error


def _message(frame: PeriodicFrame, ecu: str) -> Message:
    return Message(
        frame_id=frame.id,
        name=frame.name,
        length=frame.length,
        is_extended_frame=frame.is_29_bit,
        cycle_time=frame.period_ms,
        senders=[ecu],
        signals=[
            Signal(
                name=signal.name,
                start=signal.start_bit,
                length=signal.length,
                # Intel byte order, as proto.periodic packs the signals: start_bit is then the number of the signal's
                # lowest bit in the DBC as well.
                byte_order="little_endian",
                conversion=BaseConversion.factory(scale=signal.factor, offset=signal.offset),
                minimum=signal.minimum,
                maximum=signal.largest,
                unit=signal.unit or None,
            )
            for signal in frame.signals
        ],
    )
