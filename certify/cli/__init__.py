"""The command line: typer commands, rich progress, exit codes."""
