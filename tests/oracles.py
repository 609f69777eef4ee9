"""Naive NumPy versions of what the package computes: loops, no cleverness, no code of ours."""
