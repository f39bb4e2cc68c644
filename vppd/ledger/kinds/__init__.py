"""This build's own kinds of contracts, one module each."""
