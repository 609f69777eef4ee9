"""MNIST: its four files, whichever folder or package holds them, and what is made of them."""
