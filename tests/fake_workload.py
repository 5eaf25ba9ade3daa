"""A workload for tests of the autotuning that measures nothing."""


class FakeWorkload:
    """Fastest at i_batch 1024, e_blocksize 256, i_tile 64, 2 processes; 4 are too many."""

    worker_bytes = 10**6

    def __init__(self):
        self.candidate_e_blocksize = [128, 256, 512]
        self.candidate_tiles = [(16, 128), (64, 128)]
        self.measured = []
        self.disturbance = lambda: 1.0

    def incoherent(self, config):
        return self.disturbance() / (1000 + abs(config.i_batch - 1024)), 0.1

    def coherent(self, config):
        speed = 2.0 if config.i_tile == 64 else 1.0
        return self.disturbance() * speed / (1000 + abs(config.e_blocksize - 256)), 0.1

    def both_phases(self, config):
        self.measured.append((config.n_procs, config.i_batch, config.e_blocksize))
        speed = self.disturbance() * config.n_procs
        return speed, 0.1 if config.n_procs < 4 else 100.0
