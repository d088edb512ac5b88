"""From layers to parameters: each family knows its tensors, their connections, and the defaults of the frameworks."""
