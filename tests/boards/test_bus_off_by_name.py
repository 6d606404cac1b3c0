"""Both transports on an interface that goes off the bus, as a real kernel tells it: BusOff, at once, and gone once it is set up again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from otabench.bench.uds.transport import open_channel
from otabench.bench.uds.transport.errors import BusOff
from otabench.proto.process_config import IsoTpConfig
from tests.boards import adapter
from tests.boards.adapter import ADAPTER, Adapter, plugged_in
from tests.boards.test_python_can_slcan import REQUEST_ID, RESPONSE_ID, ask, ecu
from tests.boards.wiring import Wiring
from tests.needs import needs

pytestmark = [pytest.mark.vcan, needs(not adapter.missing(), adapter.missing())]
PATIENCE_S = 30.0


@pytest.fixture
def plugged(tmp_path: Path) -> Iterator[Adapter]:
    with plugged_in(tmp_path) as made:
        yield made


@pytest.mark.parametrize("isotp", [IsoTpConfig(transport="kernel"), IsoTpConfig(transport="user")])
def test_bus_off_is_told_by_name_at_once_and_is_over_when_the_interface_is_set_up_again(
    plugged: Adapter, isotp: IsoTpConfig
) -> None:
    channel = open_channel({"interface": "socketcan", "channel": ADAPTER}, isotp)
    connection = channel.connection(request_id=REQUEST_ID, response_id=RESPONSE_ID, isotp=isotp)
    connection.open()
    try:
        with ecu():
            assert ask(connection) == b"\x7e\x00"
            # when the bus goes off while an answer is waited for, then the wait ends by name
            threading.Timer(0.3, plugged.rewire, (Wiring.SHORT,)).start()
            began_s = time.monotonic()
            with pytest.raises(BusOff, match=f"{ADAPTER} has left the bus"):
                connection.wait_frame(timeout=PATIENCE_S, exception=True)
            assert time.monotonic() - began_s < PATIENCE_S / 2
            # and what is sent meanwhile is not lost in silence
            with pytest.raises(BusOff):
                connection.send(b"\x3e\x00")
            with pytest.raises(BusOff):
                channel.send_functional(0x7DF, b"\x3e\x80", isotp=isotp)
            # when the wires are mended and the interface is set up again, then all is well
            plugged.rewire(Wiring.HEALTHY)
            plugged.set_up()
            connection.close()
            connection.open()
            assert ask(connection) == b"\x7e\x00"
    finally:
        connection.close()
        channel.close()
