"""``python -m tests.sweeps``: the gateway killed at every statement of a job (``killed_gateway``). The other sweeps are ``otabench perf``.

python -m tests.sweeps                                  # every point of every scenario
python -m tests.sweeps --points 20 --seed 7             # a seeded choice
python -m tests.sweeps --replay plain:actions.py:88:1   # one
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from tests.sweeps.killed_gateway import SCENARIOS, Point, points_of, sweep


async def _main(arguments: argparse.Namespace) -> int:
    if arguments.replay:
        name, file, line, time = arguments.replay.split(":")
        chosen = [(name, Point(file, int(line), int(time)))]
    else:
        chosen = [(name, point) for name, scenario in SCENARIOS.items() for point in await points_of(scenario)]
        random.Random(arguments.seed).shuffle(chosen)
        print(f"{len(chosen)} points", flush=True)
        chosen = chosen[: arguments.points or None]
    ended = await sweep(
        chosen, at_once=arguments.jobs, limit_s=arguments.seconds, tell=lambda text: print(text, flush=True)
    )
    for name in SCENARIOS:
        own = [outcome for scenario, _, outcome in ended if scenario == name]
        if own:
            killed, bad = sum(each.was_killed for each in own), sum(bool(each.problem) for each in own)
            print(f"{name}: {len(own)} points, {killed} killed, {len(own) - killed} not reached, {bad} bad")
    return 1 if any(outcome.problem for *_, outcome in ended) else 0


def main() -> None:
    """Run the sweep; status 1 if a job did not end as it should."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--points", type=int, default=0, help="how many, chosen by the seed; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=86_400, help="begin no further point after that time")
    parser.add_argument("--jobs", type=int, default=2, help="how many at the same time")
    parser.add_argument("--replay", metavar="SCENARIO:FILE:LINE:TIME", help="one point")
    sys.exit(asyncio.run(_main(parser.parse_args())))


if __name__ == "__main__":
    main()
