"""vppd: agree on trading plans, keep them, settle them — one daemon for virtual power plants."""

__version__ = "0.1.0"
