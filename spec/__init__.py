"""Executable models of the protocol: what they cover and what they found is in spec/README.md."""
