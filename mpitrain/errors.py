"""The one exception that is a user's mistake and not ours."""


class UserError(Exception):
    """Bad input: its message is one clear sentence, shown once on rank 0; every rank exits with code 2.

    Everything else that is raised is a bug or a fault of the machine and ends with a traceback.
    """
