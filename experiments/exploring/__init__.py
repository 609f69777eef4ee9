"""What `experiments/descent.py --explore` sweeps over."""
