"""Values that every part of Kraken shares. Standard library only, no I/O."""
