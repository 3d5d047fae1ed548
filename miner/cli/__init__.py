"""The command line: options, help, progress, logs, exit codes."""
