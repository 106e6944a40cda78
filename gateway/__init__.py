"""The gateway as a process of its own: `python -m gateway` is the command of its image."""
