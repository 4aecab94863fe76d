"""`python -m kraken` is the `kraken` command."""

from kraken.cli.main import main

if __name__ == "__main__":
    main()
