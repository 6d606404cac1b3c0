"""``python -m otabench.ecu_firmware_sim --config FILE.json``: one process, one ECU.

Exit status: 0: stopped by SIGTERM or SIGINT. 1: it could not run (the reason is one line on stderr). 2: wrong usage.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from otabench.ecu_firmware_sim.bus.opening import open_transport
from otabench.ecu_firmware_sim.bus.transport import Waker
from otabench.ecu_firmware_sim.control_port import EcuControlPort, perform
from otabench.ecu_firmware_sim.ecu import Ecu
from otabench.ecu_firmware_sim.errors import ConfigError, EcuSimError
from otabench.ecu_firmware_sim.factory import open_state, provision
from otabench.ecu_firmware_sim.flash.layout import FlashLayout
from otabench.proto import private_files
from otabench.proto.process_config import EcuConfig
from otabench.proto.trace import TraceWriter


def load_config(path: Path) -> EcuConfig:
    """Return the configuration in a file. Raises ConfigError."""
    try:
        return EcuConfig.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise ConfigError(f"{path}: {where}: {first['msg']}") from error


def run(config: EcuConfig) -> None:
    """Run the ECU until a signal ends it. Raises EcuSimError."""
    if config.personality is not None:
        # Late: an ECU with two slots does not need them.
        from otabench.ecu_firmware_sim.personalities import process

        process.run(config, _stop_on_signals)
        return
    given = provision(config)
    layout = FlashLayout(slot_bytes=config.slot_size_bytes)
    with ExitStack() as opened:
        control = opened.enter_context(EcuControlPort(config))
        backing = opened.enter_context(closing(open_state(config, layout, given.policy)))
        # At the start an absent bus is an error of the configuration. Later it is a fault, and the ECU tries again until it is back.
        open_transport(config, Waker()).close()
        trace = opened.enter_context(closing(TraceWriter(config.trace, component=f"ecu.{config.name}", vin=config.vin)))
        ecu = Ecu(config, given, backing, trace)
        _stop_on_signals(ecu.stop)
        # Not earlier: the port listens from its construction on, but answers only for an ECU that exists.
        control.start(ecu, partial(perform, ecu))
        ecu.run()
        control.stop()


def _stop_on_signals(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop())


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m otabench.ecu_firmware_sim", description="One simulated ECU on a CAN bus."
    )
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="the ECU's configuration, JSON (otabench.proto.process_config.EcuConfig)",
    )
    config_path = parser.parse_args(arguments).config
    private_files.restrict_new_files()  # its flash holds keys and counters
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("can").setLevel(logging.WARNING)
    logging.getLogger("isotp").setLevel(logging.CRITICAL)  # its errors come by error_handler as well
    try:
        run(load_config(config_path))
    except EcuSimError as error:
        print(f"ecu_firmware_sim: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
