"""Read the loadable segments of a linked ELF file.

Rules:

* The address is the physical one (p_paddr, where the loader puts the bytes): initialized data are linked to RAM and stored in
  flash.
* Where there are sections, only allocated ones with contents count. A first segment may begin with the ELF header itself, because
  linkers align segments to pages, and the header is not part of the program.
"""

from __future__ import annotations

import io

import bincopy
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from otabench.bench.firmware.programs.program import MalformedProgram, Program, ProgramFormat, Segment

_FORM = ProgramFormat.ELF


def read_elf(data: bytes) -> Program:
    """Read an ELF executable of 32 or 64 bit.

    Raises:
        MalformedProgram: it is cut short, not linked, without loadable segments, or its segments overlap.
    """
    try:
        elf = ELFFile(io.BytesIO(data))
        kind = elf.header["e_type"]
        loadable = [each for each in elf.iter_segments() if each["p_type"] == "PT_LOAD" and each["p_filesz"]]
        has_sections = elf.num_sections() > 1  # section 0 is always the null section
    except (ELFError, KeyError, ValueError, UnicodeDecodeError, AttributeError) as error:
        raise MalformedProgram(
            _FORM, "", f"its header cannot be read ({error or 'cut short'})", "export it again"
        ) from error
    if kind == "ET_REL":
        raise MalformedProgram(_FORM, "", "an object file, not a linked program", "give the linker's output")
    if not loadable:
        raise MalformedProgram(_FORM, "", "it has no loadable segments with contents", "give the linker's output")
    for number, segment in enumerate(loadable):
        end = segment["p_offset"] + segment["p_filesz"]
        if end > len(data):
            problem = f"it ends at byte {end}, the file after {len(data)}"
            raise MalformedProgram(_FORM, f"loadable segment {number}", problem, "is the file complete?")
    start = int(elf.header["e_entry"])
    if not has_sections:
        plain = [
            Segment(each["p_paddr"], data[each["p_offset"] : each["p_offset"] + each["p_filesz"]]) for each in loadable
        ]
        return Program.of(plain, _FORM, start=start)
    file = bincopy.BinFile()
    try:
        file.add_elf(data, overwrite=False)
    except (bincopy.Error, ELFError, KeyError, ValueError) as error:
        raise MalformedProgram(_FORM, "", f"its sections cannot be laid out: {error}") from error
    return Program.of([Segment(each.address, bytes(each.data)) for each in file.segments], _FORM, start=start)
