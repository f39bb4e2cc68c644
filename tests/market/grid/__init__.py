"""Tests of :mod:`vppd.market.grid`."""
