"""What a reader raises about the inside of a file; the caller adds which file."""


class Malformed(Exception):
    """A file is not what it should be: the message goes on from the file's name."""
