"""Connections and sockets: how many, how long, over TLS or not, and how they end."""

from lockgate.serving.unwanted import hidden

with hidden("watchfiles"):  # uvicorn loads it to restart a developer's program when a file changes: 2 MB a process
    import uvicorn as uvicorn  # before any part of this package does
