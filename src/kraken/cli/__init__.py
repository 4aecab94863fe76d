"""The `kraken` command. What a subcommand needs is imported when it runs, so that an agent stays small."""
