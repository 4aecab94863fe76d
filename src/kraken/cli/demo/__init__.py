"""`kraken demo`: an image made of this machine's files, pushed once, pulled by several agents at once."""
