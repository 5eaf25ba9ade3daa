"""A prior and likelihoods whose evidence is known, for explorations."""

import numpy as np

from dotpe_exec.adaptive.explorer import Explorer
from dotpe_exec.seeds import generator


class Normal:
    """A standard normal prior."""

    def __init__(self, n_dim, mirrors=((0,),)):
        self.n_dim, self.mirrors = n_dim, mirrors
        self.determined = [(1, (0, *range(2, n_dim)))]

    def draw(self, n, rng):
        return rng.standard_normal((n, self.n_dim))

    def ln_prior(self, z_ik):
        return -0.5 * np.sum(z_ik**2, axis=1) - 0.5 * self.n_dim * np.log(2 * np.pi)


class Gaussians:
    """Equal Gaussian peaks; the evidence under the standard normal prior is known."""

    def __init__(self, centres, width, ln_height=50.0):
        self.centres, self.width, self.ln_height = np.array(centres), width, ln_height
        self.n_evaluated = self.n_adapted = 0

    def __call__(self, z_ik):
        self.n_evaluated += len(z_ik)
        square_ic = np.sum((z_ik[:, None] - self.centres) ** 2, axis=2)
        terms_ic = -0.5 * square_ic / self.width**2
        return self.ln_height + np.logaddexp.reduce(terms_ic, axis=1)

    def rough(self, z_ik):
        return self(z_ik) + np.sin(17 * z_ik[:, 0])  # near enough to begin with

    def adapt(self, z_ik, lnlike_i, ln_weight_i):
        self.n_adapted += 1

    @property
    def ln_evidence(self):
        variance = 1 + self.width**2
        n_k = self.centres.shape[1]
        terms_c = (
            -0.5 * np.sum(self.centres**2, axis=1) / variance
            - 0.5 * n_k * np.log(variance)
            + n_k * np.log(self.width)
        )
        return self.ln_height + np.logaddexp.reduce(terms_c)


def explore(likelihood, n_dim, seed, n_effective=1000, max_points=60000, mirrors=((0,),)):
    """Return an explorer that has learnt, and what it produced."""
    explorer = Explorer(
        Normal(n_dim, mirrors),
        likelihood,
        lambda *path: generator(seed, *path),
        max_points=max_points,
    )
    explorer.learn()
    return explorer, explorer.produce(n_effective)
