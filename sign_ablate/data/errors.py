"""The error of every source of images."""


class DataError(ValueError):
    """A source or a prepared file that cannot be used: one line that says what, where and the way out."""
