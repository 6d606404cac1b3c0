"""The pages that people write: their links, their commands, and the messages and examples that they quote."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from typer.main import get_group

from docs_site import links, navigation, reference
from otabench.bench.cli.app import app
from otabench.bench.cli.lazy import Group
from tests.test_layering import PACKAGES, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "setup" / "README.md"])
PAGES_WITH_COMMANDS = [page.relative_to(ROOT) for page in PAGES if page.name != "CHANGELOG.md"]
"""The change log names commands that are gone, too."""
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    generated = {f"docs/{path}" for path in reference.PAGES}
    missing = links.missing_targets(
        text,
        page=page.relative_to(ROOT).as_posix(),
        exists=lambda path: str(path) in generated or (ROOT / path).exists(),
    )
    assert missing == []


def test_every_page_is_in_the_navigation() -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader=yaml.SafeLoader)

    in_docs = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    from_root = {path for path in links.IN_SITE.values() if "/" not in path and path != "index.md"}
    shown = list(navigation.pages_in(navigation.expanded(config["nav"], in_docs)))
    assert sorted(shown) == sorted({*in_docs, *reference.PAGES, *from_root}), (
        "`nav` of mkdocs.yml has to list every page once"
    )


# Commands.

INLINE = re.compile(r"`(?:[\w./-]*/)?otabench ([a-z][^`\n]*)`")
BLOCK = re.compile(r"^```(?:sh|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
IN_BLOCK = re.compile(r"^(?:\$ )?(?:setup/with-can (?:--join )?)?(?:[\w./-]*/)?otabench ([a-z].*)$", re.MULTILINE)


def commands_in(text: str) -> Iterator[str]:
    """Yield the commands of otabench that a page quotes, in a line or in a block of commands."""
    in_blocks = [command for block in BLOCK.findall(text) for command in IN_BLOCK.findall(block)]
    for found in [*INLINE.findall(BLOCK.sub("", text)), *in_blocks]:
        command = re.split(r"\s+#|;|\s>\s", found)[0].strip()
        if not command.partition(" ")[0].endswith(":"):  # what a program prints
            yield command


def alternatives(words: list[str]) -> Iterator[list[str]]:
    """Yield every command that `bench init|check FILE` stands for."""
    for place, word in enumerate(words[:2]):
        if "|" in word:
            for each in word.split("|"):
                yield [*words[:place], each, *words[place + 1 :]]
            return
    yield words


def problem_of(words: list[str]) -> str | None:
    """Return what is wrong with a command; None if there is such a command with these options."""
    command: Any = get_group(app)
    rest = list(words)
    while isinstance(command, Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        command = command.get_command(None, name)
        if command is None:
            return f"there is no command {name!r}"
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    given = {word.partition("=")[0] for word in rest if word.startswith("--")} - {"--help"}
    return None if given <= known else f"no options {sorted(given - known)}"


@pytest.mark.parametrize("page", PAGES_WITH_COMMANDS, ids=str)
def test_every_command_that_a_page_quotes_is_one(page: Path) -> None:
    wrong = []
    for command in commands_in((ROOT / page).read_text(encoding="utf-8")):
        try:
            words = shlex.split(command.replace("…", "X"))
        except ValueError:
            words = command.split()
        for each in alternatives(words):
            problem = problem_of(each)
            if problem:
                wrong.append(f"otabench {command}: {problem}")
    assert wrong == []


def test_the_commands_of_a_page_are_seen() -> None:
    block = "```sh\nsetup/with-can .venv/bin/otabench perf flsh --x   # why\n$ otabench up; ls\n```\n"
    text = f"Run `otabench bench init|check FILE`; `otabench init: bad` is printed.\n\n{block}"
    found = list(commands_in(text))
    assert found == ["bench init|check FILE", "perf flsh --x", "up"]
    assert [problem_of(words) for words in alternatives(["bench", "init|chekc"])] == [
        None,
        "there is no command 'chekc'",
    ]
    assert problem_of(["up", "--falt", "x"]) == "no options ['--falt']"


# What is quoted from the code.


@cache
def texts_of_the_code() -> str:
    """Return all texts of the code, joined as they are in messages; what is filled in is ``…``."""
    texts = []
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                    texts.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    texts.append((ROOT / "setup" / "with-can").read_text(encoding="utf-8"))
    return "\n".join(texts)


def test_every_message_of_the_troubleshooting_page_is_one_of_the_code() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    messages = re.findall(r"^### `([^`]+)`$", page, re.M)
    assert len(messages) > 20
    fragments = {message: [part.strip(" ;:()") for part in message.split("…")] for message in messages}
    absent = [
        message
        for message, parts in fragments.items()
        if not all(part in texts_of_the_code() for part in parts if part)
    ]
    assert absent == []


def test_the_tests_of_the_first_test_page_are_those_of_the_example_repository() -> None:
    page = (ROOT / "docs" / "first-test.md").read_text(encoding="utf-8")
    examples = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "examples" / "tests").glob("*.py"))
    functions = re.findall(
        r"^def .*?(?=^\S|\Z)", "\n".join(re.findall(r"```python\n(.*?)```", page, re.S)), re.M | re.S
    )
    assert len(functions) == 4
    assert [function for function in functions if function.strip() not in examples] == []
    (ini,) = re.findall(r"```ini\n(.*?)```", page, re.S)
    assert ini == (ROOT / "examples" / "pytest.ini").read_text(encoding="utf-8")


# Links in the site.

SITE = {"index.md", "pytest.md", "changelog.md", "adr/0001-guest-kernel.md", "images/hmi.png", "reference/api.md"}


@pytest.mark.parametrize(
    ("page", "text", "expected"),
    [
        ("docs/pytest.md", "[ADR 1](adr/0001-guest-kernel.md)", "[ADR 1](adr/0001-guest-kernel.md)"),
        ("docs/adr/0002.md", "[it](../pytest.md#options)", "[it](../pytest.md#options)"),
        ("docs/adr/0002.md", "[log](../../CHANGELOG.md)", "[log](../changelog.md)"),
        ("CONTRIBUTING.md", "[docs/pytest.md](docs/pytest.md)", "[docs/pytest.md](pytest.md)"),
        ("CHANGELOG.md", "![page](docs/images/hmi.png)", "![page](images/hmi.png)"),
        ("docs/pytest.md", "[tests/test_layering.py](../tests/test_layering.py)", "`tests/test_layering.py`"),
        ("docs/pytest.md", "see [the order](../tests/test_layering.py)", "see the order (`tests/test_layering.py`)"),
        ("docs/pytest.md", "[setup/README.md](../setup/README.md)", "`setup/README.md`"),
        (
            "docs/pytest.md",
            "[out](https://example.org/x) [here](#options)",
            "[out](https://example.org/x) [here](#options)",
        ),
        ("docs/pytest.md", "![gone](../other.png)", ""),
        ("docs/pytest.md", "```\n[a](../b.py)\n```", "```\n[a](../b.py)\n```"),
        ("docs/reference/api.md", "[fixtures](../pytest.md)", "[fixtures](../pytest.md)"),
    ],
)
def test_links_are_led_to_their_place_in_the_site(page: str, text: str, expected: str) -> None:
    assert links.for_the_site(text, page=page, pages=SITE) == expected


def test_a_link_that_leads_nowhere_is_found() -> None:
    text = "[a](there.md) [b](../README.md) [c](../../x.md)\n```\n[d](nowhere.md)\n```\n[e](gone.md#x)"
    there = {PurePosixPath("docs/there.md"), PurePosixPath("README.md")}
    assert links.missing_targets(text, page="docs/page.md", exists=there.__contains__) == ["../../x.md", "gone.md#x"]


@pytest.mark.parametrize(
    ("html", "loaded"),
    [
        ('<script src="https://cdn.example/x.js"></script>', ["https://cdn.example/x.js"]),
        ('<link rel="stylesheet" href="//fonts.example/css">', ["//fonts.example/css"]),
        ('<link href="https://fonts.example" rel="preconnect">', ["https://fonts.example"]),
        ("@import url(https://fonts.example/a.css)", ["https://fonts.example/a.css"]),
        ('.a { background: url("//x.example/a.png") }', ["//x.example/a.png"]),
        ('<img alt="x" src="https://x.example/a.png">', ["https://x.example/a.png"]),
        ('<pre class="mermaid"><code>flowchart</code></pre>', ["mermaid"]),
        ('<a href="https://example.org">read</a><script src="assets/x.js"></script><link rel="icon" href="a.png">', []),
        ('<link rel="canonical" href="https://example.org/page.html">', []),
    ],
)
def test_what_a_page_would_load_from_a_network_is_found(html: str, loaded: list[str]) -> None:
    assert links.external_resources(html) == loaded
