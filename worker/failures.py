"""Failures of jobs that are foreseen; everything else is a defect and logged with its traceback."""

_DESCRIPTION_LENGTH_MAX = 200


class JobError(Exception):
    """A foreseen failure; its message is for operators and holds no secret."""


class TryLaterError(JobError):
    """The job may succeed later."""


class CannotSucceedError(JobError):
    """Trying the job again is of no use until somebody changes something."""


def describe(error: Exception) -> str:
    """What is stored and logged of a failure: of unforeseen ones the class alone, whose text might quote a secret."""
    text = f"{type(error).__name__}: {error}" if isinstance(error, JobError) else type(error).__name__
    return text[:_DESCRIPTION_LENGTH_MAX]
