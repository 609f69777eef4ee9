"""What `experiments/worked_examples.py` prints: its examples, claims and errata, as data."""
