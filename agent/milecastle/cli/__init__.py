"""The `milecastle` command. Asks the daemon over its control socket, or works on files alone."""
