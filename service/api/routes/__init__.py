"""The routes, each with the model and the example of its answer."""
