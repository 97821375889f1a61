"""The error of every source of images."""


class DataError(ValueError):
    """A source or a prepared file that cannot be used: one line that says what, where and the way out."""


def reason(error: Exception) -> str:
    """The first line of another library's message, or the error's name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
