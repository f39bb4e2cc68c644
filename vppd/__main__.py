"""``python -m vppd``."""

from vppd.cli.main import run

if __name__ == "__main__":
    run()
