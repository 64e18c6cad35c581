"""From ASGI to answers: dispatch, limits, the shortest way, the admin port, the page for people."""
