"""``python -m vppd.bench.daemon --home H``: one node of a plant that the bench has written.

The daemon is the one that ``vppd start`` runs. Besides, it takes ``synchronous = "off"``, and the
faults and the core that ``bench.toml`` names; so it starts only where that file is, and only on
loopback.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from vppd.bench.cores import machine_of
from vppd.bench.faults import FILE, Faults, faulty_links
from vppd.cli.loop import run_async
from vppd.config.home import Home, load_home
from vppd.config.node import is_loopback
from vppd.config.values import parse_address
from vppd.errors import Exit, LocalFault, UserError
from vppd.net.link import Link


def bench_home(folder: Path) -> tuple[Home, Faults]:
    """The files of a node that the bench has written.

    Raises:
        UserError: E434, they are not; or they reach beyond this machine.
        ConfigError: they are damaged.
    """
    try:
        faults = Faults.read(folder)
    except (OSError, msgspec.MsgspecError) as err:
        raise _not_ours(folder, f"{FILE}: {err}") from err
    home = load_home(folder, bench=True)
    addresses = [home.listen, *(peer.addr for peer in home.peers.peers)]
    for address in addresses:
        if not is_loopback(parse_address(address)[0]):
            raise _not_ours(folder, f"{address} is beyond this machine")
    return home, faults


def _not_ours(folder: Path, why: str) -> UserError:
    return UserError(
        "E434",
        "this is no node of a bench's plant",
        facts={"folder": str(folder), "why": why},
        hint="vppd start runs a node; vppd bench run writes and runs plants of its own",
        exit_code=Exit.BAD_CONFIG,
    )


def main(arguments: list[str]) -> int:
    """Run until SIGTERM."""
    from vppd.node.daemon import run_node
    from vppd.node.logs import configure_logs

    try:
        home, faults = bench_home(Path(arguments[arguments.index("--home") + 1]))
        configure_logs(home.node.log_level, home.node.log_format)
        plain = not faults.delay_us and not faults.fail
        link = Link if plain else faulty_links(faults)
        run_async(run_node(home, link, machine_of(faults.core, faults.delay_us)))
    except (UserError, LocalFault) as err:
        print(err, file=sys.stderr)  # noqa: T201  # into its log
        return int(getattr(err, "exit_code", Exit.FAILED))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
