"""``python -m dotpe_exec``: the command line."""

from .cli import main

main(prog_name="dotpe-exec")
