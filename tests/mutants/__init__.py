"""Sixty mutants: small changes, each of which breaks a promise or a refusal, and the tests that must notice."""
