"""One third-party system a module: the real parts behind the ports."""
