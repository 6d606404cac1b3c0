"""The process of load: vehicles that call, or operators that watch. It reads a ``Load`` as one line of JSON from stdin, and writes a
``Taken`` to stdout.

Messages are not decoded here, so that the load takes as little of the processor as it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

_DEADLINE_S: Final = 10.0
_WARM_UP_S: Final = 0.5
_MAX_MESSAGE_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class Load:
    """What to do.

    Attributes:
        port: of the server, on this machine.
        tls: the folder of certificates.
        method: the full name of the method.
        callers: the certificate's name of each caller, and its messages in hexadecimal, which it sends in turn.
        at_a_time: calls that run at the same time.
        seconds: how long; 0: every caller sends its messages once, all callers at the same moment.
        pause_s: between two calls of one runner.
        watch: the method streams its answers; ``callers`` watch for ``seconds``.
    """

    port: int
    tls: str
    method: str
    callers: dict[str, list[str]]
    at_a_time: int = 32
    seconds: float = 3.0
    pause_s: float = 0.0
    watch: bool = False


@dataclass
class Taken:
    """What was measured. Times in seconds."""

    calls: int = 0
    seconds: float = 0.0
    median_s: float = 0.0
    p99_s: float = 0.0
    longest_s: float = 0.0
    answer_bytes: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    cpu_s: float = 0.0

    @property
    def rate(self) -> float:
        """Answered calls a second."""
        return self.calls / self.seconds if self.seconds else 0.0


class _Fleet:
    """Channels of all callers, and what they measure."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self.took: list[float] = []
        self.errors: Counter[str] = Counter()
        self.answer_bytes = 0
        self.began = 0.0
        self._channels = {name: _channel(load, name) for name in load.callers}
        self._calls: dict[str, Any] = {
            name: (channel.unary_stream if load.watch else channel.unary_unary)(load.method)
            for name, channel in self._channels.items()
        }
        self._messages = {
            name: itertools.cycle([bytes.fromhex(each) for each in given]) for name, given in load.callers.items()
        }

    async def call(self, name: str) -> None:
        """Call once, and note the time or the error."""
        began = time.perf_counter()
        try:
            answer = await self._calls[name](next(self._messages[name]), timeout=_DEADLINE_S)
        except grpc.aio.AioRpcError as error:
            self.errors[error.code().name] += 1
        else:
            self.answer_bytes += len(answer)
            self.took.append(time.perf_counter() - began)

    async def send_all(self, name: str, messages: int) -> None:
        """Send all messages of a caller, one after the other."""
        for _ in range(messages):
            await self.call(name)

    async def call_in_turn(self) -> None:
        """Let ``at_a_time`` runners call with one caller after the other, without a caller twice at a time.

        The end of stdin ends them early.
        """
        free: asyncio.Queue[str] = asyncio.Queue()
        for name in self._calls:
            free.put_nowait(name)

        async def run() -> None:
            while True:
                name = await free.get()
                await self.call(name)
                free.put_nowait(name)
                if self._load.pause_s:
                    await asyncio.sleep(self._load.pause_s)

        runners = [asyncio.create_task(run()) for _ in range(self._load.at_a_time)]
        await asyncio.sleep(_WARM_UP_S)
        self.took.clear()
        self.errors.clear()
        self.began = time.perf_counter()
        await _until_input_ends(self._load.seconds)
        for runner in runners:
            runner.cancel()
        await asyncio.wait(runners)

    async def watch(self, name: str) -> None:
        """Take the messages of a stream, and say "watching" after the first."""
        try:
            async for answer in self._calls[name](next(self._messages[name]), timeout=self._load.seconds):
                if not self.took:
                    print("watching", file=sys.stderr, flush=True)
                self.took.append(time.perf_counter())
                self.answer_bytes += len(answer)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                self.errors[error.code().name] += 1

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels.values():
            await channel.close()


async def _until_input_ends(seconds: float) -> None:
    # Nothing follows the first line, so readable means ended.
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), seconds)
    loop.remove_reader(sys.stdin.fileno())


def _channel(load: Load, name: str) -> grpc.aio.Channel:
    folder = Path(load.tls)
    credentials = grpc.ssl_channel_credentials(
        (folder / "ca.pem").read_bytes(), (folder / f"{name}.key").read_bytes(), (folder / f"{name}.pem").read_bytes()
    )
    # Without a pool of its own a channel would share the connection, and so the certificate, of an equal one.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)]
    return grpc.aio.secure_channel(f"localhost:{load.port}", credentials, options)


async def carry_out(load: Load) -> Taken:
    """Put the load on the server, and return what was measured."""
    fleet = _Fleet(load)
    began, cpu_began = time.perf_counter(), time.process_time()
    if load.watch:
        await asyncio.gather(*(fleet.watch(name) for name, given in load.callers.items() for _ in given))
    elif load.seconds:
        await fleet.call_in_turn()
        began = fleet.began
    else:
        await asyncio.gather(*(fleet.send_all(name, len(given)) for name, given in load.callers.items()))
    seconds = time.perf_counter() - began
    await fleet.close()
    times = sorted(fleet.took) or [0.0]
    return Taken(
        calls=len(fleet.took),
        seconds=seconds,
        median_s=times[len(times) // 2],
        p99_s=times[int(len(times) * 0.99)],
        longest_s=times[-1],
        answer_bytes=fleet.answer_bytes,
        errors=dict(fleet.errors),
        cpu_s=time.process_time() - cpu_began,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(carry_out(Load(**json.loads(sys.stdin.readline())))))))
