"""The parameters that the shape of a binary's waveform depends on."""

#: Intrinsic parameters: masses [solar masses], spins, inclination [rad].
PARAMETERS = ("m1", "m2", "s1z", "s1x_n", "s1y_n", "s2z", "s2x_n", "s2y_n", "iota")
