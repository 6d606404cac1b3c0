"""The option ``--image ECU=FILE`` of `otabench up` and `otabench campaign create`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from otabench.bench.errors import WrongUsage


def parse_images(texts: Sequence[str]) -> dict[str, Path]:
    """Return the files by ECU.

    Raises:
        WrongUsage: a text has another form.
    """
    given = {}
    for text in texts:
        ecu, separator, file = text.partition("=")
        if not ecu or not separator or not file:
            raise WrongUsage(f"--image {text!r}: expected ECU=FILE, such as engine=engine-2.0.0.bin")
        given[ecu] = Path(file)
    return given
