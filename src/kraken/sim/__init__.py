"""A cluster in one thread from one seed: the engines that ship, under a virtual clock and a model of the network.

`scenario` says what is simulated, `world` runs it, `outcome` tells how it went.
"""
