"""The lowest versions that pyproject.toml allows, as pip's constraints: `make test-lowest`."""

import re
import sys
import tomllib
from pathlib import Path


def lowest(project):
    """One line `name==version` for each dependency that has a lower bound, of all extras."""
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    for requirement in sorted({text for group in groups for text in group}):
        name, version = re.match(r"([\w.-]+?)(?:\[.*\])?>=([\w.]+)", requirement).groups()
        yield f"{name}=={version}"


if __name__ == "__main__":
    print("\n".join(lowest(tomllib.loads(Path(sys.argv[1]).read_text())["project"])))
