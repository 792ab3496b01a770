"""The one exception for input that a user can mend."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: its message is one sentence that names what is wrong, the rule and the remedy.

    The command line prints the sentence without a traceback and exits with code 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the known spellings nearest to `name`.

    Args:
        name: what was asked for.
        known: every valid name.

    Returns:
        "did you mean 'lenet5'?", or the full list where nothing is near.

    >>> nearest("lenet", ["lenet5", "mlp"])
    "did you mean 'lenet5'?"
    >>> nearest("vgg", ["lenet5", "mlp"])
    "known are 'lenet5', 'mlp'"
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(match) for match in close) + "?"
    return "known are " + ", ".join(repr(match) for match in known)
