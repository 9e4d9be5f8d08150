"""The subcommands, one file each. They are imported when they are run: see `services.cli.main`."""
