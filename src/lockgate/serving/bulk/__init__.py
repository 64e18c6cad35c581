"""Scores whole files by the server's own encoder and graph."""
