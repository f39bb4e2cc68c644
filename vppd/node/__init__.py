"""The daemon: the only room where core, store and network meet; it owns the event loop."""
