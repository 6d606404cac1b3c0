"""Read and validate a bench file.

    topology = load(Path("my.bench.yaml"))
    topology.ecus["engine"].request_id       # 0x7E0

Every mistake is a finding with file, key, problem and remedy. All mistakes are reported, not only the first. The keys are in
``topology.entries``, the rules between entries in ``topology.rules``, the words for mistakes in ``topology.wording``,
YAML itself in ``bench.yaml_text``.

Rules:

* Unknown keys are mistakes; the message names the nearest known key.
* Every ECU's bus exists. Two ECUs of a bus do not share an identifier, and none uses the functional request identifier.
  Application frames have identifiers of their own.
* Every ECU has its own image number, by which images depend on other ECUs' images.
* CAN FD needs an interface that supports it; ISO-TP over CAN FD needs a bus that is CAN FD.
* A real board (``kind: board``) needs its serial number and its security access secret: the bench cannot make them up.
* Paths in the bench file are relative to it.
* Names of buses and ECUs become names of files, so they have no ``/`` and do not begin with a dot.
* A remedy quotes a value as it is written: ``00420`` is 272 for YAML, but ``quote it: '272'`` would be another value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from otabench.bench import yaml_text
from otabench.bench.errors import BenchFileError
from otabench.bench.finding import Finding, fail
from otabench.bench.topology import python_can, rules, wording
from otabench.bench.topology.model import Topology
from otabench.bench.yaml_text import YamlMistake
from otabench.proto.security_algorithm import LIBRARY

DEFAULT_NAME = "default.bench.yaml"
COMMENTED_NAME = "commented.bench.yaml"


def default_text() -> str:
    """Return the text of the default bench file."""
    return resources.files(__package__).joinpath(DEFAULT_NAME).read_text(encoding="utf-8")


def commented_text() -> str:
    """Return a bench file to start from: the default bench, and all other keys as comments."""
    return resources.files(__package__).joinpath(COMMENTED_NAME).read_text(encoding="utf-8")


def load(path: Path | None = None) -> Topology:
    """Read a bench file, or the default one.

    Raises:
        BenchFileError: it cannot be read, or has mistakes.
    """
    name = str(path) if path is not None else DEFAULT_NAME
    try:
        text = default_text() if path is None else yaml_text.load_text(path)
    except OSError as error:
        remedy = "`otabench bench init FILE` writes one to start from"
        raise BenchFileError([fail(name, f"the bench file cannot be read: {error.strerror}", remedy)]) from error
    except YamlMistake as error:
        raise _refusal(name, [_yaml_finding(error)]) from error
    return parse(text, name=name, folder=path.parent if path is not None else None)


def parse(text: str, *, name: str, folder: Path | None = None) -> Topology:
    """Read a bench file's text.

    Args:
        text: YAML.
        name: the file's name in messages.
        folder: base of relative paths in the file. None: the working directory.

    Raises:
        BenchFileError: it has mistakes.
    """
    try:
        document = yaml_text.parse(text)
    except YamlMistake as error:
        raise _refusal(name, [_yaml_finding(error)]) from error
    content = document.content
    if not isinstance(content, dict):
        finding = fail("", "expected the keys vehicle, buses and ecus", "see `otabench bench init FILE`")
        raise _refusal(name, [finding])
    findings = [finding for at in _mappings(content.get("buses")) for finding in python_can.fill_in(*at)]
    here = (folder or Path()).resolve()
    if isinstance(content.get("keys"), str):
        content["keys"] = str(here / content["keys"])
    for _, ecu in _mappings(content.get("ecus")):
        _make_absolute(ecu, here)
    try:
        topology = Topology.model_validate(content)
    except ValidationError as error:
        findings += dict.fromkeys(wording.field_finding(dict(detail), document.written) for detail in error.errors())
        more = [*rules.missing_board_keys(document.content), *rules.partial_findings(document.content)]
        findings += [each for each in dict.fromkeys(more) if each not in findings]
        # A value that is refused already has a remedy of its own.
        refused = {each.where for each in findings}
        octal = wording.octal_findings(document.written)
        findings += [each for each in octal if each.where.removesuffix(".[key]") not in refused]
        raise _refusal(name, findings) from error
    findings += rules.cross_findings(topology)
    findings += wording.octal_findings(document.written)
    if findings:
        raise _refusal(name, findings)
    return topology


def _yaml_finding(mistake: YamlMistake) -> Finding:
    place = f"line {mistake.line}, column {mistake.column}" if mistake.line else ""
    return fail(place, mistake.problem, mistake.remedy)


def _refusal(name: str, findings: Sequence[Finding]) -> BenchFileError:
    """Return the error with the file's name in front of each key."""
    return BenchFileError(
        [replace(finding, where=f"{name}: {finding.where}" if finding.where else name) for finding in findings]
    )


def _mappings(section: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the entries of a section that are mappings; the model refuses the others."""
    if not isinstance(section, dict):
        return []
    return [(str(key), value) for key, value in section.items() if isinstance(value, dict)]


def _make_absolute(ecu: dict[str, Any], folder: Path) -> None:
    profile = ecu.get("profile")
    if isinstance(profile, str) and ("/" in profile or profile.endswith(".yaml")):
        ecu["profile"] = str(folder / profile)
    former = ecu.get("former_image")
    if isinstance(former, dict) and isinstance(former.get("file"), str):
        former["file"] = str(folder / former["file"])
    authentication = ecu.get("authentication")
    if isinstance(authentication, dict):
        paths = {key: str(folder / value) for key, value in authentication.items() if isinstance(value, str)}
        authentication.update(paths)
    security = ecu.get("security")
    if not isinstance(security, dict):
        return
    for secret in (security, *(choice for _, choice in _mappings(security.get("choices")))):
        if isinstance(secret.get("secret_file"), str):
            secret["secret_file"] = str(folder / secret["secret_file"])
        algorithm = secret.get("algorithm")
        if isinstance(algorithm, str) and algorithm.startswith(LIBRARY):
            secret["algorithm"] = LIBRARY + str(folder / algorithm.removeprefix(LIBRARY))
