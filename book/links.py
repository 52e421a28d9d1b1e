"""Ask every external address in the book whether it is there: `make links`. Needs a network.

Exits 1 and lists the addresses that are gone; one that refuses robots (403, 429) is listed, but is no error.
"""

import re
import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ADDRESS = re.compile(r"https?://[^\s<>\"'`)\]}]+")
AGENT = {"User-Agent": "Mozilla/5.0 (a check for broken links)"}


def addresses():
    """Each address, and the files that name it: the texts, the bibliography's DOIs and arXiv numbers."""
    found = {}
    for path in [ROOT / "README.md", *sorted((ROOT / "book").glob("*.md")), ROOT / "book" / "references.bib"]:
        text = path.read_text()
        named = {address.rstrip(".,;:") for address in ADDRESS.findall(text)}
        if path.suffix == ".bib":
            named |= {f"https://doi.org/{doi}" for doi in re.findall(r"\bdoi\s*=\s*[{\"]([^}\"]+)", text)}
            arxiv = re.findall(r"\beprint\s*=\s*[{\"](\d{4}\.\d+)", text)
            named |= {f"https://arxiv.org/abs/{number}" for number in arxiv}
        for address in named:
            if "ADDRESS" not in address:
                found.setdefault(address, []).append(path.name)
    return found


def answer(address):
    """The status that a server sends, or the reason why none came."""
    try:
        request = urllib.request.Request(address, headers=AGENT)
        with urllib.request.urlopen(request, timeout=20) as page:
            return page.status
    except urllib.error.HTTPError as error:
        with error:  # an answer, too, to be closed
            return error.code
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        return str(getattr(error, "reason", error))


def main():
    found = addresses()
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(found, pool.map(answer, found), strict=True))
    gone = 0
    for address, status in sorted(answers.items()):
        if status != 200:
            asked = status in (401, 403, 405, 429)
            gone += not asked
            print(f"{'refused' if asked else 'BROKEN '} {status}  {address}  ({', '.join(found[address])})")
    print(f"{len(found)} addresses, {gone} broken")
    sys.exit(bool(gone))


if __name__ == "__main__":
    main()
