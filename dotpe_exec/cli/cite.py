"""``dotpe-exec cite``: what to cite."""

from __future__ import annotations

import click

_BIBTEX = """\
@article{dotpe,
  title = {Sampler-free gravitational wave inference using matrix multiplication},
  author = {Mushkin, Jonathan and Roulet, Javier and Zackay, Barak and Venumadhav, Tejaswi
            and Ivashtenko, Oryna and Wadekar, Digvijay and Mehta, Ajit Kumar
            and Zaldarriaga, Matias},
  year = {2025},
  eprint = {2507.16022},
  archivePrefix = {arXiv},
}"""
_PARTS = (
    ("coordinates and priors (cogwheel)", "2207.03508"),
    ("extrinsic proposals", "2404.02435"),
    ("relative binning", "1806.08792"),
)


@click.command()
def cite() -> None:
    """Print what to cite: the method's paper as BibTeX, and those that it builds on.

    \b
    Example:
      dotpe-exec cite >> references.bib
    """
    click.echo(_BIBTEX)
    for what, number in _PARTS:
        click.echo(f"% {what}: https://arxiv.org/abs/{number}")
