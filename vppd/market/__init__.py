"""Auctions, tariffs, settlement arithmetic: pure functions over integers."""
