"""Weights trained elsewhere: the layouts of their files, and the preprocessing of their images."""
