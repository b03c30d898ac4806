"""The exception for wrong input: one sentence that says what is wrong and what would be right."""


class UserError(ValueError):
    """A mistake in a config, a file or an argument, told in one sentence.

    The sentence names the key or file, the value found, and what would be right. Commands print it
    without a traceback and exit with status 2.
    """
