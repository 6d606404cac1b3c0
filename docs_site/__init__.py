"""Makes the documentation site out of `docs/` (mkdocs-material): `make docs`. Not part of the wheel.

``hooks`` is what mkdocs calls. The reference pages of commands, fixtures and files are generated from the code (``reference``), so that
they cannot go stale; the others are the files of `docs/`, with the links that leave the folder made right (``links``).
"""
