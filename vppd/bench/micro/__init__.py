"""Micro-benchmarks: what one transaction, block or order costs in each room of the node.

Each room has a module with a list of named benchmarks; ``python -m vppd.bench.micro`` runs them.
"""
