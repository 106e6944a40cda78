"""The one error of the local stack."""


class StackError(Exception):
    """Something a person can act on; the launcher prints it without a traceback and exits with status 1."""
