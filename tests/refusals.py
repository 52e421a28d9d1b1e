"""How tests of bad input look at an error."""

import re

import pytest


def refused(message, function, *arguments, **options):
    """`message` is the whole text, from the start, with ... for what may stand there."""
    pattern = re.escape(message).replace(r"\.\.\.", ".*")
    with pytest.raises(ValueError, match=f"(?s)^{pattern}$") as caught:
        function(*arguments, **options)
    assert caught.type is ValueError  # not a subclass such as LinAlgError, raised by accident
