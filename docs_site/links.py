"""Links of the pages: from the repository, where they are files beside each other, to the site, where only `docs/` is. Pure.

A link to a file that the site has is kept, or led to the file's place there. One to any other file of the repository becomes the
file's name: the site may be read far from a checkout.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection
from pathlib import PurePosixPath
from typing import Final

IN_SITE: Final = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "docs": "index.md",
    "docs/adr": "adr/0001-guest-kernel.md",
}
"""Files and folders of the repository that have a page of another name."""

_LINK: Final = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_FENCE: Final = re.compile(r"^(```|~~~)")
_ABROAD: Final = ("http://", "https://", "mailto:", "#")
_EXTERNAL: Final = re.compile(
    # The theme's script loads mermaid from a CDN as soon as a page has such a block.
    r"""<(?P<mermaid>pre|div)\b[^>]*\bclass=["']?mermaid\b"""
    r"""|<(?:script|img|iframe|source|audio|video|embed)\b[^>]*\b(?:src|srcset)=["']?(?P<src>(?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?=[^>]*\brel=["']?(?:stylesheet|preload|preconnect|modulepreload|prefetch|dns-prefetch|icon))"""
    r"""[^>]*\bhref=["']?(?P<href>(?:https?:)?//[^"'\s>]+)"""
    r"""|(?:@import\s+(?:url\()?|url\()["']?(?P<css>(?:https?:)?//[^"')\s]+)""",
    re.IGNORECASE,
)


def for_the_site(markdown: str, *, page: str, pages: Collection[str]) -> str:
    """Return a page's text with its links as the site needs them.

    Args:
        markdown: the text.
        page: the page's path in the repository, e.g. ``docs/adr/0001-guest-kernel.md``.
        pages: paths of all files of the site, below ``docs``.
    """
    here = posixpath.dirname(page)
    # A page of the repository's root is put at the top of the site.
    page_in_site = IN_SITE.get(page) or page.removeprefix("docs/")

    def led(found: re.Match[str]) -> str:
        path, mark, anchor = found["target"].partition("#")
        if found["target"].startswith(_ABROAD):
            return found[0]
        at = posixpath.normpath(posixpath.join(here, path))
        target = IN_SITE.get(at) or (at.removeprefix("docs/") if at.startswith("docs/") else "")
        if target not in pages:
            return "" if found["image"] else _plain(found["text"], at)
        relative = posixpath.relpath(target, posixpath.dirname(page_in_site) or ".")
        return f"{found['image']}[{found['text']}]({relative}{mark}{anchor})"

    return _outside_code(markdown, lambda line: _LINK.sub(led, line))


def missing_targets(markdown: str, *, page: str, exists: Callable[[PurePosixPath], bool]) -> list[str]:
    """Return the targets of a page's links that lead to no file of the repository.

    Args:
        markdown: the text.
        page: the page's path in the repository.
        exists: whether there is a file or folder of that path.
    """
    missing = []

    def look(line: str) -> str:
        for found in _LINK.finditer(line):
            target = found["target"].partition("#")[0]
            if target and not found["target"].startswith(_ABROAD):
                at = posixpath.normpath(posixpath.join(posixpath.dirname(page), target))
                if at.startswith("..") or not exists(PurePosixPath(at)):
                    missing.append(found["target"])
        return line

    _outside_code(markdown, look)
    return missing


def external_resources(html: str) -> list[str]:
    """Return what a page or style sheet would load from a network. Links that a reader may follow do not count."""
    return [found["src"] or found["href"] or found["css"] or "mermaid" for found in _EXTERNAL.finditer(html)]


def _plain(text: str, path: str) -> str:
    """Return a link's text for a reader without the file: as code if it is the file's name, else with that name."""
    bare = text.strip("`")
    if path.endswith(bare) or bare.endswith(posixpath.basename(path)):
        return f"`{bare}`"
    return f"{text} (`{path}`)"


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    lines, in_code = [], False
    for line in markdown.split("\n"):
        if _FENCE.match(line.lstrip()):
            in_code = not in_code
        lines.append(line if in_code else change(line))
    return "\n".join(lines)
