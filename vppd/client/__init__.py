"""Talking to a daemon: the async client and the light checks it can do itself."""
