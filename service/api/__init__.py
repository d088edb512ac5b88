"""HTTP: routes, negotiation, ranges, problems. With `service.app` the only code that imports FastAPI."""
