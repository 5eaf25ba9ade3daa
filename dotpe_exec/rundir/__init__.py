"""Run directories: their files, the lock, what they belong to, checksums, checkpoints."""
