"""What mkdocs calls while it builds the site (`hooks` in mkdocs.yml).

Generated pages are added, links are led to their places in the site, and a site that would load anything from a network is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # mkdocs runs this file by its path

from docs_site import links, navigation, reference  # noqa: E402

FROM_ROOT: Final = {page: name for name, page in links.IN_SITE.items() if name.endswith(".md") and name != "README.md"}
"""Pages that are files of the repository's root."""


def on_config(config: Any) -> Any:
    """Expand the patterns of the navigation."""
    docs = Path(config["docs_dir"])
    config["nav"] = navigation.expanded(
        config["nav"], [path.relative_to(docs).as_posix() for path in docs.rglob("*.md")]
    )
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are not files of `docs/`."""
    for path, make in reference.PAGES.items():
        files.append(File.generated(config, path, content=make()))
    for page, name in FROM_ROOT.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead the links of a page."""
    source = page.file.src_uri
    at = FROM_ROOT.get(source) or f"docs/{source}"
    return links.for_the_site(markdown, page=at, pages={file.src_uri for file in files})


def on_post_build(*, config: Any) -> None:
    """Refuse a site that needs a network.

    Raises:
        PluginError: a page or style sheet would load something; the message names both.
    """
    site = Path(config["site_dir"])
    found = [
        f"{path.relative_to(site)}: {resource}"
        for path in sorted(site.rglob("*"))
        if path.suffix in (".html", ".css")
        for resource in links.external_resources(path.read_text(encoding="utf-8"))
    ]
    if found:
        raise PluginError("the site would load from a network:\n" + "\n".join(found))
