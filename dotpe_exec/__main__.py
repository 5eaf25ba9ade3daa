"""``python -m dotpe_exec``: the command line."""

from .cli import main

if __name__ == "__main__":  # not in processes that import the main module again
    main(prog_name="dotpe-exec")
