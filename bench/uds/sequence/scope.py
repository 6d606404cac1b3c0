"""The values of templates while a sequence runs: the block of the loop, the transfer, and what was read before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from otabench.bench.uds.sequence.material import Block, BlockKind, EraseArea, Material
from otabench.bench.uds.sequence.template import DATA, TemplateError
from otabench.bench.uds.sequence.values import (
    Attempt,
    Checksum,
    Composed,
    Date,
    Digest,
    Over,
    ProgramBytes,
    Signature,
    Text,
    Value,
)


@dataclass(frozen=True)
class Transfer:
    """One TransferData (36)."""

    counter: int
    offset: int
    address: int
    data: bytes


@dataclass(frozen=True)
class RunScope:
    """Numbers and values at one place of a run.

    Attributes:
        material: what is flashed.
        values: those of the profile.
        now: the time of programming (UTC).
        attempt: number of this programming attempt of the ECU in this job, from 1 on.
        loop: the blocks or areas of the loop, and ``index`` the one of this turn.
        transfer: of the 36 that is being sent.
        saved: what earlier steps have read; one mapping for the whole run.
    """

    material: Material
    values: Mapping[str, Value]
    now: datetime
    attempt: int = 1
    loop: Sequence[Block | EraseArea] = ()
    index: int = 0
    transfer: Transfer | None = None
    saved: dict[str, bytes] = field(default_factory=dict)

    def turn(self, loop: Sequence[Block | EraseArea], index: int) -> RunScope:
        """Return the scope of one turn of a loop."""
        return replace(self, loop=loop, index=index)

    def sending(self, transfer: Transfer) -> RunScope:
        """Return the scope of one 36."""
        return replace(self, transfer=transfer)

    @property
    def block(self) -> Block | EraseArea:
        """The block or area of this turn.

        Raises:
            TemplateError: there is no loop here, and more or fewer than one block in all.
        """
        if self.loop:
            return self.loop[self.index]
        if len(self.material.blocks) == 1:
            return self.material.blocks[0]
        raise TemplateError(f"there are {len(self.material.blocks)} blocks here: name the block's fields in a loop")

    def number(self, name: str) -> int:
        """See ``template.Scope``."""
        match name:
            case "block_number":
                return self.index + 1
            case "block_count":
                return len(self.loop) or len(self.material.blocks)
            case "start_address":
                return self.material.start_address
            case "counter" | "offset" | "data_length" | "record_address":
                return self._of_transfer(name)
        block = self.block
        length = block.length if isinstance(block, EraseArea) else len(block.data)
        in_memory = block.length if isinstance(block, EraseArea) else block.length_in_memory
        numbers = {
            "address": block.address,
            # The last address of the block, not the first one behind it.
            "end_address": block.address + in_memory - 1,
            "length": length,
            "memory_length": in_memory,
            "block_id": 0 if isinstance(block, EraseArea) else block.block_id,
            "data_format": 0 if isinstance(block, EraseArea) else block.data_format,
        }
        return numbers[name]

    def _of_transfer(self, name: str) -> int:
        if self.transfer is None:
            raise TemplateError(f"{{{name}}} exists in a transfer (36) only")
        match name:
            case "counter":
                return self.transfer.counter
            case "offset":
                return self.transfer.offset
            case "data_length":
                return len(self.transfer.data)
            case _:
                return self.transfer.address

    def value(self, name: str, before: bytes) -> bytes:
        """See ``template.Scope``."""
        if name == DATA and self.transfer is not None:
            return self.transfer.data
        # First what was read: if a step saves under the name of a value of the profile, it replaces that value.
        if name in self.saved:
            return self.saved[name]
        value = self.values.get(name)
        match value:
            case Checksum() | Digest():
                return value.compute(self._counted(value.over, before))
            case Date():
                return value.compute(self.now)
            case Text():
                return self._text(name, value)
            case Signature():
                return self._signature(name)
            case Attempt():
                # Cut to its width: a counter of one byte is 00 after FF.
                return (self.attempt % (1 << 8 * value.attempt)).to_bytes(value.attempt, value.order.value)
            case ProgramBytes():
                return self._of_program(name, value)
            case Composed():
                return value.bytes.render(self)
            case None:
                raise TemplateError(f"{{{name}}} was not read yet: the step that saves it comes later, or was skipped")

    def _counted(self, over: Over, before: bytes) -> list[bytes]:
        match over:
            case Over.BLOCK:
                block = self.block
                return [] if isinstance(block, EraseArea) else [block.counted]
            case Over.DRIVER:
                return [each.counted for each in self.material.of_kind(BlockKind.DRIVER)]
            case Over.APPLICATION:
                return [each.counted for each in self.material.of_kind(BlockKind.APPLICATION)]
            case Over.ALL:
                return [each.counted for each in self.material.blocks]
            case Over.MESSAGE:
                return [before]

    def _text(self, name: str, value: Text) -> bytes:
        text = value.text
        if text is None:
            text = self.material.settings.get(value.setting or "")
        if text is None:
            known = ", ".join(self.material.settings) or "none"
            raise TemplateError(f"{{{name}}}: the setting {value.setting!r} is not given; given: {known}")
        try:
            return value.compute(text)
        except ValueError as error:
            raise TemplateError(f"{{{name}}}: {error}") from error

    def _of_program(self, name: str, value: ProgramBytes) -> bytes:
        for block in self.material.blocks:
            at = value.program_at - block.address
            if 0 <= at <= len(block.counted) - value.length:
                return block.counted[at : at + value.length]
        last = value.program_at + value.length - 1
        raise TemplateError(f"{{{name}}}: the program has no data from 0x{value.program_at:08X} to 0x{last:08X}")

    def _signature(self, name: str) -> bytes:
        block = self.block
        signature = None
        if isinstance(block, Block):
            signature = self.material.signatures.get(self.material.blocks.index(block))
        if signature is None:
            raise TemplateError(f"{{{name}}}: there is no signature for this block")
        return signature
