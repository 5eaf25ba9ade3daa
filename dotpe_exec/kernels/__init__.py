"""The mathematics on arrays: arrays in, arrays out, no files, no cogwheel.

Nothing here imports anything but NumPy, numba and other kernels: a worker of the
likelihood phases loads this package and little else.
"""
