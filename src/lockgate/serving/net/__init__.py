"""Connections and sockets: how many, how long, over TLS or not, and how they end."""
