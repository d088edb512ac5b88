"""Valid and mutated requests to a real server, by `make fuzz`: all answers agree, and none costs too much."""
