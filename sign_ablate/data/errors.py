"""Error raised by all sources of images."""


class DataError(ValueError):
    """Raised if a source or a prepared file cannot be used. The message is one line and names a remedy."""


def reason(error: Exception) -> str:
    """First line of an error's message, or the name of its type if the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
