"""``otabench bench init`` and ``otabench bench check``: bench files, written and looked at.

Decides how findings are printed and the exit status: 0 where all is fine, 1 where something does not answer, 2 for a wrong file.
"""

from __future__ import annotations

from pathlib import Path

from otabench.bench.errors import BenchError
from otabench.bench.topology import bench_file


def check(file: Path | None) -> int:
    """Validates a bench file and asks what it names; prints a line each. Returns the exit status.

    Raises:
        BenchFileError: the file itself is wrong.
    """
    from otabench.bench.bus import environment
    from otabench.bench.doctor import bench_check

    found = bench_file.load(file)
    print(f"ok    {file or bench_file.DEFAULT_NAME}: vehicle {found.vehicle.vin}")
    if not environment.wants_kernel_can():
        found, _ = environment.usable_topology(found, say=lambda line: print(f"ok    {line}"))
    status = 0
    for fine, about, words in bench_check.examine(found):
        print(f"{'ok' if fine else 'fail':<5} {about}: {words}")
        status = status if fine else 1
    return status


def init(file: Path) -> None:
    """Writes a commented bench file to start from.

    Raises:
        BenchError: it is there already or cannot be written.
    """
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(bench_file.commented_text())
    except FileExistsError as error:
        raise BenchError(f"{file} is there already; choose another name") from error
    except OSError as error:
        raise BenchError(f"{file}: {error.strerror}; choose another place") from error
    print(f"{file} written; `otabench bench check {file}` tells whether it is right")
