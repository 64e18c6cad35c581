"""A bundle on disk, verified, loaded and answering columns; knows no transport and no routing."""
