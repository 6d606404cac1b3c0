"""Read YAML that a user wrote: bench files and flash profiles.

    document = parse(load_text(path))
    document.content                                   # dicts, lists, text, numbers
    document.written[("ecus", "engine", "serial")]     # "00420", where the content has 272

Rules:

* A key that is given twice is a mistake; YAML 1.1 keeps the last one silently. Keys are single values, not lists or mappings.
* ``on``, ``off``, ``yes`` and ``no`` are words, dates are text, and there are no numbers to the base 60, as in YAML 1.2: ``power: {on: …}``
  would otherwise have the key True.
* A file is at most 256 KiB long, 40 levels deep and 5,000 values large, aliases counted as often as they are used. So reading ends
  within a second whatever the file is, and no error message can grow without bound.
* Text has no control characters: it ends up in paths, in messages and on terminals.
* Every mistake has its line and column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 40
MAX_VALUES: Final = 5_000
MAX_DIGITS: Final = 300
"""Of a number. Python itself refuses to print more than 4300."""

Key = str | int
Place = tuple[Key, ...]
"""Keys and indices that lead to a value, as in pydantic's errors."""

_TAG: Final = "tag:yaml.org,2002:"
_MERGE: Final = _TAG + "merge"
_TAGS: Final = ("null", "bool", "int", "float", "str", "seq", "map", "merge")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_NUMBERS: Final = {
    "bool": ("^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    "int": (r"^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$", "-+0123456789"),
    "float": (
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
}
"""PyYAML's patterns by tag, without the numbers to the base 60, and the characters that such a value begins with."""


class YamlMistake(Exception):
    """The text is not YAML, or not within the rules.

    Attributes:
        line, column: from 1; 0 where the mistake has no place.
        problem, remedy: in words.
    """

    def __init__(self, problem: str, remedy: str, *, line: int = 0, column: int = 0) -> None:
        self.line, self.column, self.problem, self.remedy = line, column, problem, remedy
        place = f"line {line}, column {column}: " if line else ""
        super().__init__(f"{place}{problem}; {remedy}")


@dataclass(frozen=True)
class Document:
    """The contents of a text.

    Attributes:
        content: dicts, lists, text, numbers, truth values and None.
        written: of each unquoted single value the characters that stand in the file. A number has more than one spelling, so a
            message that quotes the content may quote something else than the file. A key that is not text is at its place and
            ``[key]``.
        lines: the line, from 1 on, in which each value begins.
    """

    content: Any
    written: dict[Place, str]
    lines: dict[Place, int]


def load_text(path: Path) -> str:
    """Return the contents of a file.

    Raises:
        OSError: it cannot be read.
        YamlMistake: it is too large, or not UTF-8.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)  # not the size first: /dev/zero has none
    if len(data) > MAX_BYTES:
        raise YamlMistake(f"the file is longer than {MAX_BYTES} bytes", "is it the right file?")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        raise YamlMistake(
            "it is not UTF-8 text",
            "save it as UTF-8",
            line=before.count(b"\n") + 1,
            column=error.start - before.rfind(b"\n"),
        ) from error


def parse(text: str) -> Document:
    """Read a text.

    Raises:
        YamlMistake: it is not YAML, or not within the rules of this module.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            return Document(None, {}, {})
        content = loader.construct_document(node)
        values = list(_walk(loader, node, (), node))
        written = {
            place: each.value for place, each, _ in values if isinstance(each, yaml.ScalarNode) and each.style is None
        }
        return Document(content, written, {place: begin.start_mark.line + 1 for place, _, begin in values})
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        raise YamlMistake(
            f"the character U+{int(error.character):04X} is not allowed",
            "remove it",
            line=before.count("\n") + 1,
            column=len(before) - before.rfind("\n"),
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        problem = _shortened(" ".join((error.problem or "not YAML").split()))
        raise YamlMistake(problem, error.note or "correct that line", line=line, column=column) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's loader with the rules of this module."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._nodes = 0
        self._sizes: dict[int, int] = {}  # values in a node with all its aliases, by the node's id

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node, within the limits of depth and size."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        self._nodes += 1
        if self._nodes > MAX_VALUES:
            raise _too_many(event.start_mark)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _mistake(f"more than {MAX_DEPTH} levels, one inside the other", event.start_mark, "write it flatter")
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is None:
            return None
        if node.tag.removeprefix(_TAG) not in _TAGS:
            tag = _shortened(node.tag.replace(_TAG, "!!"))
            raise _mistake(f"the tag {tag} is not used here", event.start_mark, "remove it")
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:  # not composed to its end yet
                raise _mistake("an alias stands inside its own anchor", event.start_mark, "write the value out")
            return node
        size = 1 + sum(self._sizes[id(each)] for each in _inner(node))
        if size > MAX_VALUES:
            raise _too_many(event.start_mark)
        self._sizes[id(node)] = size
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct the value of a node."""
        try:
            value = super().construct_object(node, deep=deep)
        except (ValueError, OverflowError, TypeError, AttributeError, LookupError) as error:
            # An explicit tag on a text that does not fit, such as !!int abc.
            raise _mistake(f"this is not a value of the type {node.tag.removeprefix(_TAG)}", node.start_mark) from error
        if isinstance(value, str) and (found := _CONTROL.search(value)):
            raise _mistake(f"the text has the character U+{ord(found[0]):04X} in it", node.start_mark, "remove it")
        return value

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Construct a number, if it is not too long to be one."""
        if len(node.value) > MAX_DIGITS:
            raise _mistake(f"a number of more than {MAX_DIGITS} digits", node.start_mark, "quote it, if it is a text")
        return int(super().construct_yaml_int(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping whose keys are single values and given once."""
        seen = set()
        for key_node, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if not isinstance(key_node, yaml.ScalarNode):
                raise _mistake("a list or mapping cannot be a key", key_node.start_mark, "write a word as the key")
            # `<<: *other` stands for the other mapping's keys, which PyYAML puts in place.
            key = _MERGE if key_node.tag == _MERGE else self.construct_object(key_node, deep=True)
            if key in seen:
                raise _mistake(f"the key {_shortened(repr(key_node.value))} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _mistake(problem: str, mark: Any, remedy: str | None = None) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(None, None, problem, mark, remedy)


def _too_many(mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return _mistake(f"more than {MAX_VALUES} keys and values, aliases counted", mark, "is it the right file?")


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [each for pair in node.value for each in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else text[:100] + "…"


def _walk(
    loader: _Loader, node: yaml.Node, place: Place, begin: yaml.Node
) -> Iterator[tuple[Place, yaml.Node, yaml.Node]]:
    """Yield place, node and beginning of every value below a node: a value in a mapping begins with its key."""
    yield place, node, begin
    if isinstance(node, yaml.SequenceNode):
        for number, each in enumerate(node.value):
            yield from _walk(loader, each, (*place, number), each)
    elif isinstance(node, yaml.MappingNode):
        for key_node, each in node.value:
            key = loader.construct_object(key_node, deep=True)
            here = (*place, key if isinstance(key, int) else str(key))
            if not isinstance(key, str):
                yield (*here, "[key]"), key_node, key_node
            yield from _walk(loader, each, here, key_node)


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(_TAG) not in {*_NUMBERS, "timestamp"}]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, (_pattern, _first) in _NUMBERS.items():
    _Loader.add_implicit_resolver(_TAG + _name, re.compile(_pattern), list(_first))
_Loader.add_constructor(_TAG + "int", _Loader.construct_yaml_int)
