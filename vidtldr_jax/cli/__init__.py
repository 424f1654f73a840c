"""The command line: `main` holds the group and the errors, each command has a file of its own."""
