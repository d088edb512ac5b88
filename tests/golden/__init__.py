"""What was drawn once and is promised for ever: whole files with their ETags, and tensors, a row each."""
