"""Options that take several values after one name, as the published command line does."""

from __future__ import annotations

import json

import click


class SeveralValues(click.Command):
    """A command whose options of several values may have them one after the other.

    ``--bank a b`` is ``--bank-folder a,b``, and ``--n_int 100 200`` is
    ``--n-int '[100, 200]'``; ``--calibration H1=a L1=b`` is the option twice.
    """

    joined = ("--bank-folder", "--bank")
    listed = ("--n-int",)
    repeated = ("--calibration", "--psd")

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put values that follow one of the options together, then parse as ever."""
        together: list[str] = []
        k = 0
        while k < len(args):
            word = args[k]
            name = word.replace("_", "-")
            together.append(word)
            k += 1
            if name in self.repeated:
                while k + 1 < len(args) and "=" in args[k] and _is_pair(args[k + 1]):
                    together += [args[k], word]
                    k += 1
                continue
            if name not in self.joined + self.listed:
                continue
            values = []
            while k < len(args) and not args[k].startswith("--"):
                values.append(args[k])
                k += 1
            if len(values) > 1:
                listed = name in self.listed and all(v.isdecimal() for v in values)
                text = json.dumps([int(v) for v in values]) if listed else ",".join(values)
                values = [text]
            together += values
        return super().parse_args(ctx, together)


def _is_pair(word: str) -> bool:
    return "=" in word and not word.startswith("-")
