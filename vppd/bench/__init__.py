"""The bench: real daemons under a load that is made beforehand, measured from the outside."""
