"""Scale by simulation: the shipped machine with measured costs, in plants larger than a bench."""
