"""Exchanges into steps: what each request is, what of its bytes is a field, and how the ECU took it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from otabench.bench.uds.draft.downloads import Download, memory_of
from otabench.bench.uds.draft.explain import Explainer
from otabench.bench.uds.draft.heard import Heard
from otabench.bench.uds.sequence.material import Block
from otabench.bench.uds.services import SUPPRESS, is_suppressed, without_suppress

LONG_WAIT_S: Final = 0.9
"""A tool that sends nothing for longer waits on purpose."""
_SHORT_WAIT_S: Final = 0.05
_SLOW_S: Final = 1.0
_SELF_EXPLAINING: Final = frozenset({0x14, 0x28, 0x29, 0x3E, 0x85})
"""Services whose bytes ISO 14229-1 fixes: nothing is open about them."""
_MIN_BURST: Final = 5


@dataclass
class Item:
    """One step of the draft: its keys in the order of the file, the block that it belongs to, and comments above it."""

    keys: dict[str, Any]
    block: int | None = None
    comments: list[str] = field(default_factory=list)

    @property
    def is_download(self) -> bool:
        return "download" in self.keys


class StepWriter:
    """A writer of steps, which explains each by the block that fits best.

    Args:
        explainer: of the session.
        blocks: of the downloads, in order.
    """

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer
        self._next_block = 0
        self._ids_at: dict[tuple[bytes, int], int] = {}

    def learn_block_ids(self, grouped: Sequence[Heard | Download]) -> None:
        """Find out where routines name the block before or behind them: where the byte changes as the block's identifier does."""
        near: dict[tuple[bytes, int], list[tuple[bytes, set[int]]]] = {}
        place = 0
        for each in grouped:
            if isinstance(each, Download):
                place += 1
            elif each.sid == 0x31:
                ids = {block.block_id for block in self._explainer.blocks[max(0, place - 1) : place + 1]}
                near.setdefault((each.request[:4], len(each.request)), []).append((each.request[4:], ids))
        for family, seen in near.items():
            for at in range(family[1] - 4):
                values = {option[at] for option, _ in seen}
                if len(values) > 1 and all(option[at] in ids for option, ids in seen):
                    self._ids_at[family] = at
                    break

    def items(self, grouped: Sequence[Heard | Download]) -> list[Item]:
        """Return the steps of a part of the session. Downloads are counted over all parts."""
        items: list[Item] = []
        last_end_s: float | None = None
        at = 0
        while at < len(grouped):
            each = grouped[at]
            if isinstance(each, Heard) and _is_second_half(each):
                at, last_end_s = at + 1, each.end_s
                continue
            run = _run_from(grouped, at)
            first = run[0] if run else each.request if isinstance(each, Download) else each
            self._add_pause(items, 0.0 if last_end_s is None else first.time_s - last_end_s)
            if isinstance(each, Download):
                items.append(self._download(each))
                last_end_s = (each.exit or each.transfers[-1]).end_s
                at += 1
                continue
            is_burst = len(run) >= _MIN_BURST and not any(one.response for one in run)
            item = _burst(run) if is_burst else self._step(run)
            if items and restarts(items[-1]) and "tester_present" in item.keys:
                item = Item({"await_answer": 10.0})
            items.append(item)
            last_end_s = run[-1].end_s
            at += len(run)
        return items

    @staticmethod
    def _add_pause(items: list[Item], pause_s: float) -> None:
        """Add the time in which nothing was sent: to the step before if the ECU restarted there, else as a step of its own."""
        if items and restarts(items[-1]):
            if pause_s > _SHORT_WAIT_S:
                items[-1].keys["deaf_s"] = round(pause_s + 0.05, 1)
        elif pause_s > LONG_WAIT_S:
            items.append(Item({"wait": round(pause_s, 1)}))

    def _step(self, run: Sequence[Heard]) -> Item:
        heard = run[-1]
        item = self._by_service(run)
        if heard.functional:
            item.keys["to"] = "all"
        if "await_answer" in item.keys:
            # Whether it was refused in the end does not matter: any answer shows that the ECU is up.
            return item
        if is_suppressed(heard.request):
            item.keys["suppress"] = True
        elif heard.response[:1] == b"\x7f":
            item.keys["optional"] = True
            item.comments.append(
                f"It was refused with NRC {_hex(heard.response[2:3]) or '(missing)'}, and the tool went on."
            )
        elif not heard.response and "answer" not in item.keys and "answers_after_reset" not in item.keys:
            item.keys["optional"] = True
            item.comments.append("It was not answered, and the tool went on.")
        if heard.pending_s:
            item.keys["limit_s"] = max(10, round(3 * heard.response_s))
        elif heard.response_s > _SLOW_S and "answer" not in item.keys:
            item.keys["p2_s"] = round(2 * heard.response_s, 1)
        return item

    def _by_service(self, run: Sequence[Heard]) -> Item:
        heard = run[-1]
        request, sid = heard.request, heard.sid
        if sid == 0x10:
            return _session(heard)
        if sid == 0x11:
            return Item({"reset": _Hex(request[1] & ~SUPPRESS), **({"answer": "late"} if heard.pending_s else {})})
        if sid == 0x27:
            return Item({"unlock": _Hex(request[1]), **({"record": _hex(request[2:])} if request[2:] else {})})
        if request[:2] == b"\x29\x01":
            return _authenticate(request)
        if request[:2] == b"\x3e\x00":
            return Item({"await_answer": 10.0}) if len(run) > 1 else Item({"tester_present": True})
        if sid == 0x22 and len(request) == 3:
            return Item({"read_did": _Hex(int.from_bytes(request[1:3], "big"), 4)})
        if sid == 0x2E:
            item = self._explained(request[3:], "data", request[:3])
            return Item(
                {"write_did": _Hex(int.from_bytes(request[1:3], "big"), 4), **item.keys}, item.block, item.comments
            )
        if sid == 0x31:
            return self._routine(run)
        item = self._explained(without_suppress(request), "request", b"")
        if sid in _SELF_EXPLAINING:
            item.comments.clear()
        return item

    def _routine(self, run: Sequence[Heard]) -> Item:
        first, last = run[0], run[-1]
        act = {1: "start", 2: "stop", 3: "results"}.get(first.request[1] & ~SUPPRESS, "start")
        keys: dict[str, Any] = {"routine": _Hex(int.from_bytes(first.request[2:4], "big"), 4)}
        if act != "start":
            keys["act"] = act
        option = self._explained(first.request[4:], "option", first.request[:4])
        keys.update(option.keys)
        if len(last.response) > 4:
            status: dict[str, Any] = {"done": _Hex(last.response[4])}
            if len(run) > 1:
                status["in_progress"] = _Hex(run[0].response[4])
                ask = "results" if run[1].request[1] == 3 else "start"
                every_s = max(0.05, round(run[1].time_s - run[0].end_s, 2))
                keys["status"] = status
                keys["poll"] = {"ask": ask, "every_s": every_s, "limit_s": 60}
            keys["status"] = status
        return Item(keys, option.block, option.comments)

    def _explained(self, data: bytes, key: str, before: bytes) -> Item:
        """Explain bytes by the block before or behind them, whichever explains more; the one behind wins where both do."""
        if not data:
            return Item({})
        near = [place for place in (self._next_block, self._next_block - 1) if 0 <= place < len(self._explainer.blocks)]
        id_at = self._ids_at.get((before, len(before) + len(data)))
        own = dict(self._explainer.values)
        best, where, values = self._explainer.explain(data, None, before=before), None, dict(self._explainer.values)
        for place in near:
            self._explainer.values = dict(own)
            found = self._explainer.explain(data, place, before=before, id_at=id_at)
            # As good, and in other words: a checksum of the block is meant rather than one of all blocks, which are but one.
            is_closer = found.fields == best.fields and where is None and found.text != best.text
            if found.fields > best.fields or is_closer:
                best, where, values = found, place, dict(self._explainer.values)
        self._explainer.values = values
        comments = []
        if best.constants > 1:
            comments.append(f"{best.constants} bytes here are constants: compare them with the bootloader's document.")
        return Item({key: best.text}, where, comments)

    def _download(self, download: Download) -> Item:
        place, self._next_block = self._next_block, self._next_block + 1
        block = self._explainer.blocks[place]
        keys: dict[str, Any] = {"download": "block", "request": self._request_34(download.request.request, block)}
        keys.update(_length(download, block))
        if block.records and block.data != b"".join(each.request[2:] for each in download.transfers):
            keys.update(self._records(download, block))
        if download.transfers[0].request[1] != 1:
            keys["first_counter"] = _Hex(download.transfers[0].request[1])
        between = [self._step([each]) for each in download.between]
        if between:
            keys["before_data"] = [each.keys for each in between]
        keys.update(self._exit(download, place))
        slowest_s = max(each.response_s for each in download.transfers)
        if slowest_s > _SLOW_S:
            keys["transfer_p2_s"] = round(2 * slowest_s, 1)
        return Item(keys, place)

    def _request_34(self, request: bytes, block: Block) -> str:
        _, size, address_bytes = memory_of(request)
        size_bytes = request[2] >> 4
        if len(request) != 3 + address_bytes + size_bytes or not size:
            return _hex(request)  # no memory is named here
        data_format = "{data_format:1}" if request[1] == block.data_format else f"{request[1]:02X}"
        place = "{block_id:1}" if address_bytes == 1 else f"{{address:{address_bytes}}}"
        return f"34 {data_format} {request[2]:02X} {place} {{memory_length:{size_bytes}}}"

    def _exit(self, download: Download, place: int) -> dict[str, Any]:
        if download.exit is None:
            return {"exit": None}
        extra = download.exit.response[1:]
        if len(extra) in (2, 4):
            found = self._explainer.explain(extra, place, before=b"\x77")
            if not found.constants:
                return {"exit_answer": f"77 {found.text}"}
        return {}

    def _records(self, download: Download, block: Block) -> dict[str, Any]:
        """Find out what is around the data of a record: bytes of its address in front; length and CRC behind."""
        request, (address, data) = download.transfers[0].request, block.records[0]
        at = request.index(data, 2)
        head, tail = request[2:at], request[at + len(data) :]
        parts = ["36 {counter:1}"]
        if head and head == address.to_bytes(8, "big")[-len(head) :]:
            parts.append(f"{{record_address:{len(head)}:low}}")
        elif head:
            parts.append(_hex(head))
        parts.append("{data}")
        if tail[:1] == bytes((len(data) & 0xFF,)):
            parts.append("{data_length:1}")
            tail = tail[1:]
        if tail:
            parts.append(self._explainer.explain(tail, None, before=request[: len(request) - len(tail)]).text)
        extra = {each.response[2:] for each in download.transfers}
        accepted = f"76 {{counter:1}} {_hex(extra.pop())}" if len(extra) == 1 else "76 {counter:1} *"
        return {"records": True, "transfer": " ".join(parts), "accepted": accepted.strip()}


class _Hex(int):
    """A number that is written in hexadecimal digits."""

    digits: int

    def __new__(cls, value: int, digits: int = 2) -> _Hex:
        made = super().__new__(cls, value)
        made.digits = digits
        return made

    def __repr__(self) -> str:
        return f"0x{int(self):0{self.digits}X}"


def _session(heard: Heard) -> Item:
    keys: dict[str, Any] = {"session": _Hex(heard.request[1] & ~SUPPRESS)}
    is_restart = bool(heard.pending_s) or (not heard.response and not heard.request[1] & SUPPRESS)
    if is_restart and not heard.functional:
        keys["answers_after_reset"] = True
        keys["deaf_s"] = 0.2
    if (
        len(heard.response) >= 6
        and int.from_bytes(heard.response[2:4], "big") > int.from_bytes(heard.response[4:6], "big") * 10
    ):
        keys["timing"] = False
        return Item(keys, comments=["P2 is longer than P2* in its answer: they are in the wrong order, and not used."])
    return Item(keys)


def _is_second_half(heard: Heard) -> bool:
    """Return whether an exchange belongs to the step before: the key of a level (27), or the proof of a certificate (29 03)."""
    return (heard.sid == 0x27 and not heard.request[1] % 2) or heard.request[:2] == b"\x29\x03"


def _authenticate(request: bytes) -> Item:
    keys: dict[str, Any] = {"authenticate": "unidirectional"}
    if request[2:3] not in (b"", b"\x00"):
        keys["communication"] = _Hex(request[2])
    comment = "Which bytes the proof signs is not visible: compare `signed`, the challenge by default, with the ECU's document."
    return Item(keys, comments=[comment])


def _length(download: Download, block: Block) -> dict[str, Any]:
    """Return the length of transfers: the one that the ECU states, rounded, or a fixed one."""
    answer = download.request.response
    size_bytes = answer[1] >> 4 if len(answer) > 1 else 0
    stated = int.from_bytes(answer[2 : 2 + size_bytes], "big")
    sent = max(len(each.request) for each in download.transfers)
    if sent == stated:
        return {}
    if stated < 3:
        return {"length": {"source": "fixed", "max_bytes": max(sent, 3)}}
    if len(download.transfers) == 1:
        return {}  # all of it fitted
    for multiple in (8, 4, 16, 256):
        if (stated - 2) // multiple * multiple == sent - 2:
            return {"length": {"multiple_of": multiple}}
    return {"length": {"source": "fixed", "max_bytes": sent}}


def restarts(item: Item) -> bool:
    """Return whether the ECU restarts in this step."""
    return "reset" in item.keys or "answers_after_reset" in item.keys


def _run_from(grouped: Sequence[Heard | Download], at: int) -> list[Heard]:
    """Return the exchanges from ``at`` on that are one step: a burst, a poll, or a single one."""
    first = grouped[at]
    if not isinstance(first, Heard):
        return []
    run: list[Heard] = []
    for each in grouped[at:]:
        if not isinstance(each, Heard) or each.request != first.request:
            break
        run.append(each)
    if len(run) >= _MIN_BURST and not any(each.response for each in run):
        return run
    return _polls_of(grouped, at)


def _polls_of(grouped: Sequence[Heard | Download], at: int) -> list[Heard]:
    """Return a routine with the requests that ask for its end: the same again, or for results, each with another status at last."""
    first = grouped[at]
    if not isinstance(first, Heard):
        return []
    run = [first]
    for each in grouped[at + 1 :]:
        if not isinstance(each, Heard):
            break
        is_again = each.request == first.request or each.request == b"\x31\x03" + first.request[2:4]
        may_repeat = first.sid == 0x31 or first.request == b"\x3e\x00"
        if not is_again or not may_repeat or (first.sid == 0x31 and len(first.response) < 5):
            break
        run.append(each)
    if first.request == b"\x3e\x00" and all(each.response for each in run):
        return [first]
    return run


def _burst(run: Sequence[Heard]) -> Item:
    every_s = (run[-1].time_s - run[0].time_s) / (len(run) - 1)
    return Item(
        {
            "burst": _hex(run[0].request),
            "every_s": round(max(every_s, 0.001), 3),
            "for_s": round(every_s * (len(run) - 1), 2),
        }
    )


def _hex(data: bytes) -> str:
    return data.hex(" ").upper()
