"""Weights that others trained: how their files are laid out, and what their images need."""
