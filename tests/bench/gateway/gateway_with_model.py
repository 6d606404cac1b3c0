"""``python -m tests.bench.gateway.gateway_with_model FILE``: the gateway as a process, with a model vehicle."""

from __future__ import annotations

import sys
from pathlib import Path

from otabench.bench.gateway.process import run_gateway
from tests.bench.gateway.model_vehicle import beside_state

if __name__ == "__main__":
    run_gateway(Path(sys.argv[1]), beside_state)
