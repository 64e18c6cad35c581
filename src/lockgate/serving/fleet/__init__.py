"""Processes: one alone, or several workers that act as one."""
