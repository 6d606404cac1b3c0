"""The bench file: which vehicle, which buses, which ECUs.

Decides what a whole file means: defaults that come from several entries, and that every mistake is told with file, key, what
is wrong and what to do (``topology.rules``, in the words of ``topology.wording``). Its entries are
``topology.entries``. It opens no bus and starts nothing.

Rules:

* Unknown keys are mistakes; the nearest known key is named.
* Every ECU's bus exists; no two ECUs of a bus share an identifier, and none uses the functional request identifier. Application
  frames have identifiers of their own.
* Every ECU has an image number of its own, by which images name each other's ECUs as dependencies.
* CAN FD is asked for only where the interface has it, of ISO-TP only on a bus that is CAN FD.
* A real board (``kind: board``) needs its serial number and its security access secret, as nobody made them for it.
* Files that the bench file names are relative to it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from otabench.bench.errors import BenchFileError
from otabench.bench.finding import Finding, fail
from otabench.bench.topology import python_can, rules, wording
from otabench.bench.topology.model import Topology

DEFAULT_NAME = "default.bench.yaml"
COMMENTED_NAME = "commented.bench.yaml"
_BOOL = "tag:yaml.org,2002:bool"


def default_text() -> str:
    """Return the default bench file's text."""
    return resources.files(__package__).joinpath(DEFAULT_NAME).read_text(encoding="utf-8")


def commented_text() -> str:
    """Return a bench file to start from: the default bench, and what else can be said, as comments."""
    return resources.files(__package__).joinpath(COMMENTED_NAME).read_text(encoding="utf-8")


def load(path: Path | None = None) -> Topology:
    """Read a bench file, or the default one.

    Raises:
        BenchFileError: it cannot be read or is wrong; one line for each mistake.
    """
    name = str(path) if path is not None else DEFAULT_NAME
    try:
        text = default_text() if path is None else path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BenchFileError(
            [
                fail(
                    name,
                    f"the bench file cannot be read: {reason}",
                    "`otabench bench init FILE` writes one to start from",
                )
            ]
        ) from error
    return parse(text, name=name, folder=path.parent if path is not None else None)


def parse(text: str, *, name: str, folder: Path | None = None) -> Topology:
    """Read a bench file's text.

    Args:
        text: YAML.
        name: stands in the messages.
        folder: what relative paths in it are relative to; None: the working directory.

    Raises:
        BenchFileError: one line for each mistake.
    """
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        raise _refusal(name, [wording.yaml_finding(error)]) from error
    if not isinstance(content, dict):
        finding = fail("", "expected the keys vehicle, buses and ecus", "see `otabench bench init FILE`")
        raise _refusal(name, [finding])
    findings = [finding for at in _mappings(content.get("buses")) for finding in python_can.complete(*at)]
    here = (folder or Path()).resolve()
    if isinstance(content.get("keys"), str):
        content["keys"] = str(here / content["keys"])
    for _, ecu in _mappings(content.get("ecus")):
        _make_absolute(ecu, here)
    try:
        topology = Topology.model_validate(content)
    except ValidationError as error:
        findings += dict.fromkeys(wording.field_finding(dict(detail)) for detail in error.errors())
        raise _refusal(name, findings) from error
    findings += rules.cross_findings(topology)
    if findings:
        raise _refusal(name, findings)
    return topology


def _refusal(name: str, findings: Sequence[Finding]) -> BenchFileError:
    """Return the error with the file's name in front of each key."""
    return BenchFileError(
        [replace(finding, where=f"{name}: {finding.where}" if finding.where else name) for finding in findings]
    )


def _mappings(section: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the entries of a section that are mappings; what is none is for the model to refuse."""
    if not isinstance(section, dict):
        return []
    return [(str(key), value) for key, value in section.items() if isinstance(value, dict)]


def _make_absolute(ecu: dict[str, Any], folder: Path) -> None:
    profile = ecu.get("profile")
    if isinstance(profile, str) and ("/" in profile or profile.endswith(".yaml")):
        ecu["profile"] = str(folder / profile)
    security = ecu.get("security")
    if isinstance(security, dict) and isinstance(security.get("secret_file"), str):
        security["secret_file"] = str(folder / security["secret_file"])


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping; ``on`` and ``off`` are words (YAML 1.2), not truth values."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.MarkedYAMLError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_StrictLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_StrictLoader.add_implicit_resolver(_BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
