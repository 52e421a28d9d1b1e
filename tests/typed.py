"""The type checker of the tests: an int is also a float, as PEP 484 says and as every caller expects."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
