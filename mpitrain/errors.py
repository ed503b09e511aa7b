"""Exceptions that are not bugs: a user's mistake or wrong schedule, an error known to all ranks, an unloaded kernel."""


class UserError(Exception):
    """Bad input: its message is one clear sentence, and the exit code is 2.

    Everything else that is raised is a bug or a fault of the machine and ends with a traceback.
    """


class ScheduleError(UserError):
    """A schedule that is wrong; the message says which rank, where in its file, and why."""


class EndlessError(ScheduleError):
    """A schedule that does not end, or does not reach its next step."""


class AgreedError(UserError):
    """An error that every rank raises at the same point: rank 0 prints it once, and all ranks leave in good order."""

    def __init__(self, message: str, code: int = 2):
        super().__init__(message)
        self.code = code


class CubinError(Exception):
    """A driver that does not load a built kernel, for example since a newer compiler has built it."""
