"""The sections of a release spec, by subject; `core/spec.py` puts them together, and is what others import."""
