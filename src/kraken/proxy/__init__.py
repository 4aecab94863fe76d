"""The proxy: the registry's front door for pushes, and for pulls where no agent is. It keeps nothing."""
