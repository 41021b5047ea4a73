"""The errors that reach a user, each told in one line."""


class InputError(Exception):
    """Something named on the command line can't be used; the message has the cause and the mend."""


class NotMeasuredError(Exception):
    """Nothing could be measured, through no fault of the command line; the message has the cause."""
