"""Founding a network: each member makes its own files, and all sign one genesis before they start."""
