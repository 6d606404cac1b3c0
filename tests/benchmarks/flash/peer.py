"""The peer of the comparison: udsoncan's client over can-isotp's user-space stack, set up as their manuals do.

The ECU must ask for a block size: with 0 the stack hands a whole message to the socket at once, whose buffer a paced bus fills.

It sends an image to the same ECU by 10 02, 27, FF00, 34, 36 and 37, and times the blocks. It is compared with ``gateway.flashing`` over
the kernel's ISO-TP.
"""

from __future__ import annotations

import hashlib
import hmac
import time

import can
import isotp
from udsoncan import MemoryLocation
from udsoncan.client import Client
from udsoncan.configs import default_client_config
from udsoncan.connections import PythonIsoTpConnection
from udsoncan.exceptions import NegativeResponseException, TimeoutException

from otabench.bench.errors import BenchError
from otabench.bench.perf.material import REQUEST_ID, RESPONSE_ID, SECTOR_BYTES

SLOT_ADDRESS = 0x0010_0000
_TIMEOUT_S = 20.0


def rate_bytes_per_s(channel: str, *, fd: bool, secret: str, data: bytes, block_bytes: int) -> float:
    """Return the payload rate of a download of ``data``.

    Raises:
        BenchError: it did not succeed.
    """
    with can.Bus(interface="socketcan", channel=channel, fd=fd) as bus:
        notifier = can.Notifier(bus, [], timeout=0.1)
        try:
            return _download(bus, notifier, fd=fd, secret=secret, data=data, block_bytes=block_bytes)
        except (TimeoutException, NegativeResponseException, isotp.IsoTpError) as error:
            raise BenchError(f"udsoncan and can-isotp: the download did not succeed: {error}") from error
        finally:
            notifier.stop(timeout=1)


def _download(
    bus: can.BusABC, notifier: can.Notifier, *, fd: bool, secret: str, data: bytes, block_bytes: int
) -> float:
    address = isotp.Address(isotp.AddressingMode.Normal_11bits, txid=REQUEST_ID, rxid=RESPONSE_ID)
    parameters = {
        "blocking_send": True,
        "tx_padding": 0xCC,
        "can_fd": fd,
        "bitrate_switch": fd,
        "tx_data_length": 64 if fd else 8,
        "max_frame_size": 4095,
    }
    stack = isotp.NotifierBasedCanStack(bus, notifier, address=address, params=parameters)
    config = {
        **default_client_config,
        "request_timeout": _TIMEOUT_S,
        "p2_timeout": _TIMEOUT_S,
        "use_server_timing": False,
    }
    with Client(PythonIsoTpConnection(stack), config=config) as client:  # type: ignore[arg-type]
        client.change_session(2)
        seed = client.request_seed(1).service_data.seed
        client.send_key(2, hmac.new(bytes.fromhex(secret), seed, hashlib.sha256).digest())
        size = -(-len(data) // SECTOR_BYTES) * SECTOR_BYTES
        window = b"\x44" + SLOT_ADDRESS.to_bytes(4, "big") + size.to_bytes(4, "big")
        client.start_routine(0xFF00, window)
        client.request_download(MemoryLocation(SLOT_ADDRESS, len(data), address_format=32, memorysize_format=32))
        started = time.perf_counter()
        for number, start in enumerate(range(0, len(data), block_bytes - 2), start=1):
            client.transfer_data(number & 0xFF, data[start : start + block_bytes - 2])
        duration_s = time.perf_counter() - started
        client.request_transfer_exit()
        client.ecu_reset(1)
    return len(data) / duration_s
