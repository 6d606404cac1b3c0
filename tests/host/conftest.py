"""Tests of this folder are about choosing a kernel: inside a guest there is nothing to choose, so they are not collected."""

from __future__ import annotations

import os

collect_ignore_glob = ["test_*.py"] if os.environ.get("OTABENCH_KERNEL") == "guest" else []
