"""What the weights are like: measured beside expected."""
