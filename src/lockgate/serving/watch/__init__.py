"""What the server says of itself: counts, distributions, health, and probes of its own models."""
