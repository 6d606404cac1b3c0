"""Unicode Normalization Form C of the strings in metadata (Uptane 2.1.0, 5.2).

    require_nfc(metadata)          # before a signature, and before anything in the metadata is used
    texts = to_nfc(typed)          # what people type, before it becomes metadata

Two strings that look the same may consist of other characters ("é", or "e" and an accent). Signed in two forms they would be two names for
one thing, and a comparison would fail or pass by accident. So writers normalize what people type, and readers refuse other forms. Keys of
objects count as strings, too.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

_FORM: Final = "NFC"
_ESCAPE: Final = b"\\u"
_MAX_SHOWN: Final = 40


class NotNormalized(ValueError):
    """Metadata with a string in another form. The message shows the string, escaped."""


def require_nfc(metadata: bytes) -> None:
    """Raise NotNormalized if a string in the metadata is not in Form C.

    Bytes that are not JSON pass: whoever parses them refuses them, with a better reason.
    """
    # Almost all metadata are plain ASCII, which is in Form C. Escapes hide other characters.
    if metadata.isascii() and _ESCAPE not in metadata:
        return
    try:
        strings = _strings(json.loads(metadata))
        wrong = next((each for each in strings if not unicodedata.is_normalized(_FORM, each)), None)
    except (ValueError, RecursionError):
        return
    if wrong is not None:
        shown = wrong[:_MAX_SHOWN].encode("unicode_escape").decode("ascii")
        raise NotNormalized(f'the string "{shown}" is not in Unicode Normalization Form C')


def to_nfc(value: Any) -> Any:
    """Return a JSON value with every string in Form C."""
    if isinstance(value, str):
        return unicodedata.normalize(_FORM, value)
    if isinstance(value, dict):
        return {to_nfc(key): to_nfc(each) for key, each in value.items()}
    if isinstance(value, list):
        return [to_nfc(each) for each in value]
    return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
