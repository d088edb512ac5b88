"""HTTP: routes, negotiation, ranges, problems. Only this package and `service.app` import FastAPI."""
