"""`python -m service`: the same as the installed command `xavier`."""

from service.cli.commands import main

main()
