"""``python -m icrl``: check every claim of the book on fresh random instances."""

import argparse
import sys

from icrl.claims import CLAIMS, table


def main() -> int:
    """Print the table; 0 if every claim holds, 1 if one does not."""
    parser = argparse.ArgumentParser(prog="python -m icrl", description=__doc__.split(": ")[1])
    parser.add_argument("--seed", type=int, default=0, help="seed of the random instances (default 0)")
    parser.add_argument("--only", metavar="ID", help="check this claim alone")
    options = parser.parse_args()
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}; it must not be negative")
    chosen = [claim for claim in CLAIMS if options.only in (None, claim.id)]
    if not chosen:
        parser.error(f"--only is {options.only!r}; the ids are {', '.join(c.id for c in CLAIMS)}")
    report, all_hold = table(chosen, options.seed)
    print(report)
    return 0 if all_hold else 1


if __name__ == "__main__":
    sys.exit(main())
