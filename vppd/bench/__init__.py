"""Measuring vppd: loads, experiments and reports; nothing here runs in a plant."""
