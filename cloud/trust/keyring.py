"""Keys that follow the key folder: a running cloud uses a new Root and its keys as soon as they are there.

    director = Keyring(lambda: load_director_keys(folder), next_root=lambda keys: folder / …)
    director.current().signers["targets"]

Nothing watches the folder. Whoever needs keys calls ``current``, which looks for the one file that a rotation publishes last
(``N+1.root.json``). If that Root or one of its keys cannot be used, the previous keys stay in use, and the log states the reason once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from otabench.cloud.errors import StartError
from otabench.cloud.trust.image_metadata import FOLDER, ImageRepositoryKeys, load_image_repository_keys
from otabench.cloud.trust.keys import DirectorKeys, load_director_keys

_Keys = TypeVar("_Keys")
_log = logging.getLogger(__name__)


class Keyring(Generic[_Keys]):
    """Keys that are read again when there is a newer Root.

    Args:
        load: reads them.
        next_root: returns the file of the Root that would follow theirs.

    Raises:
        StartError: the keys cannot be used now.
    """

    def __init__(self, load: Callable[[], _Keys], *, next_root: Callable[[_Keys], Path]) -> None:
        self._load = load
        self._next_root = next_root
        self._keys = load()
        self._complaint = ""
        # Transactions run on several threads.
        self._lock = threading.Lock()

    def current(self) -> _Keys:
        """Return the current keys."""
        if not self._next_root(self._keys).exists():
            return self._keys
        with self._lock:
            try:
                self._keys = self._load()
                _log.info("keys: a new Root is in use, from %s", self._next_root(self._keys).parent)
            except StartError as error:
                if str(error) != self._complaint:
                    _log.error("the previous keys stay in use: %s", error)
                self._complaint = str(error)
            return self._keys


def open_director_keys(keys_dir: Path) -> Keyring[DirectorKeys]:
    """Return the Director's keys. Raises StartError."""
    return Keyring(
        lambda: load_director_keys(keys_dir),
        next_root=lambda keys: keys_dir / "director" / f"{keys.root.signed.version + 1}.root.json",
    )


def open_image_repository_keys(keys_dir: Path) -> Keyring[ImageRepositoryKeys] | None:
    """Return the Image repository's keys. None: this key folder was made before there was one. Raises StartError."""
    if load_image_repository_keys(keys_dir) is None:
        return None

    def load() -> ImageRepositoryKeys:
        keys = load_image_repository_keys(keys_dir)
        if keys is None:
            raise StartError(f"keys: {keys_dir / FOLDER / 'root.json'} is gone")
        return keys

    return Keyring(load, next_root=lambda keys: keys_dir / FOLDER / f"{keys.root.version + 1}.root.json")
