"""Other machines, emulated: they draw the golden bytes, or the known answers refuse them. `make platforms`."""
