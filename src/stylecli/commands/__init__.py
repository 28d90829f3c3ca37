"""The commands: parse, build a config, call one function, turn errors into exit codes."""
