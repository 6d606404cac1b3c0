"""Downloads: RequestDownload (34), TransferData (36) until all was sent, RequestTransferExit (37).

A 36 whose answer was lost is sent again with the same counter: a server acknowledges a repeat, and does not write it again
(ISO 14229-1, service 36). A refusal ends the transfer, because the ECU has lost or rejected it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from otabench.bench.uds.errors import EcuContradicts, EcuLost
from otabench.bench.uds.sequence.asking import Asker, example_of
from otabench.bench.uds.sequence.material import Block
from otabench.bench.uds.sequence.scope import RunScope, Transfer
from otabench.bench.uds.sequence.steps import AnyStep, Download
from otabench.bench.uds.sequence.template import TemplateError
from otabench.bench.uds.sequence.tester import Tester


@dataclass
class Totals:
    """Number of bytes transferred (36) so far, and the time of these transfers."""

    bytes: int = 0
    duration_s: float = 0.0


class Downloader:
    """The sender of blocks to one ECU.

    Args:
        tester: the ECU.
        asker: sends its requests.
        run_steps: carries out the steps between 34 and the first 36.
        on_bytes: called with the number of data bytes that the ECU has accepted in this download.

    Attributes:
        totals: of all finished downloads.
    """

    def __init__(
        self,
        tester: Tester,
        asker: Asker,
        *,
        run_steps: Callable[[tuple[AnyStep, ...], RunScope], None],
        on_bytes: Callable[[int], None],
    ) -> None:
        self._tester = tester
        self._asker = asker
        self._run_steps = run_steps
        self._on_bytes = on_bytes
        self.totals = Totals()

    def send(self, step: Download, scope: RunScope) -> None:
        """Send the block of the loop.

        Raises:
            FlashError: it was refused, lost or contradicted.
            TemplateError: the profile does not fit the block.
        """
        block = scope.block
        if not isinstance(block, Block):
            raise TemplateError("download sends a block, and this loop is over areas to be erased")
        length = self._request_download(step, scope)
        self._run_steps(step.before_data, scope)
        started_s = self._tester.now_s()
        done = 0
        for number, (address, data) in enumerate(_pieces(step, block, length)):
            # FF is followed by 00 (ISO 14229-1, service 36).
            transfer = Transfer((step.first_counter + number) & 0xFF, done, address, data)
            self._transfer(step, scope.sending(transfer))
            done += len(data)
            self._on_bytes(done)
        duration_s = self._tester.now_s() - started_s
        if step.exit is not None:
            request, example = step.exit.render(scope), example_of(step.exit_answer, scope)
            answer = self._asker.ask(step, request, "37 transfer exit", p2_s=step.transfer_p2_s, example=example)
            self._asker.require(step.exit_answer, answer, scope, "37 transfer exit")
        self.totals.bytes += done
        self.totals.duration_s += duration_s
        self._tester.emit(
            "flash.block",
            kind=block.kind.value,
            bytes=done,
            duration_s=round(duration_s, 6),
            bytes_per_s=round(done / duration_s, 1) if duration_s > 0 else 0.0,
            block_bytes=length,
        )

    def _request_download(self, step: Download, scope: RunScope) -> int:
        """Send 34. Return the number of data bytes for each 36."""
        title = step.title or "34 request download"
        answer = self._asker.ask(step, step.request.render(scope), title)
        rule = step.length
        max_bytes = rule.max_bytes
        if rule.source == "answer":
            # lengthFormatIdentifier: the upper half is the number of bytes of maxNumberOfBlockLength (ISO 14229-1, service 34).
            size_bytes = answer[1] >> 4 if len(answer) > 1 else 0
            stated = int.from_bytes(answer[2 : 2 + size_bytes], "big")
            # At least service identifier, counter and one byte of data.
            if len(answer) < 2 + size_bytes or stated < 3:
                text = f"maxNumberOfBlockLength is missing or too small ({answer.hex(' ').upper()})"
                raise self._asker.contradicts(title, text)
            max_bytes = min(max_bytes, stated if rule.includes_header else stated + 2)
        data_bytes = (max_bytes - 2) // rule.multiple_of * rule.multiple_of
        if data_bytes < 1:
            raise TemplateError(f"length: {max_bytes} bytes hold no {rule.multiple_of} data bytes behind the header")
        return data_bytes

    def _transfer(self, step: Download, scope: RunScope) -> None:
        payload = step.transfer.render(scope)
        title = f"36 {payload[1]:02X} transfer data"
        repeats = step.repeats
        while True:
            try:
                example = example_of(step.accepted, scope)
                answer = self._asker.ask(step, payload, title, p2_s=step.transfer_p2_s, example=example)
                break
            except (EcuLost, EcuContradicts):
                # A repeated block may be answered twice. The second response then arrives after the next block was sent, with the wrong
                # counter. That raises EcuContradicts, but only means that the response to the next block is missing.
                if repeats == 0:
                    raise
            repeats -= 1
        self._asker.require_no_failure(step.failures, answer, scope, title)
        self._asker.require(step.accepted, answer, scope, title)


def _pieces(step: Download, block: Block, length: int) -> Iterator[tuple[int, bytes]]:
    """Return address and data of each 36."""
    if step.records:
        if not block.records:
            raise TemplateError("the program has no records, which are the lines of an S-record file")
        yield from block.records
        return
    for at in range(0, len(block.data), length):
        yield block.address + at, block.data[at : at + length]
