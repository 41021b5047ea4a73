"""The errors that reach a user, each told in one line."""


class InputError(Exception):
    """Something named on the command line can't be used; the message has the cause and the hint."""


class WriteError(InputError):
    """A file can't be written; the message has the file, the cause and the hint."""


class NotMeasuredError(Exception):
    """Nothing could be measured, through no fault of the command line; the message has the cause."""


def in_one_line(error: BaseException) -> str:
    """Any error in one line: what one of ours says, and the type before anything else."""
    return str(error) if isinstance(error, InputError | NotMeasuredError) else one_line(error)


def one_line(error: BaseException) -> str:
    """An unexpected exception in one line: its type and the first line of what it says."""
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
