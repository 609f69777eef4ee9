"""Merge two frozen installations: ``merge.py OLD NEW``, Python 3.11's and a newer one's."""

import pathlib
import sys


def read(path: str) -> dict[str, str]:
    """The versions of a frozen installation, by name."""
    lines = pathlib.Path(path).read_text().splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


old, new = map(read, sys.argv[1:3])
print("# Tested versions, made by `make constraints`; no index is named here.")
for name in sorted({*old, *new}, key=str.lower):
    if old.get(name) == new.get(name):
        print(f"{name}=={old[name]}")
        continue
    if name in old:
        print(f"{name}=={old[name]}; python_version < '3.12'")
    if name in new:
        print(f"{name}=={new[name]}; python_version >= '3.12'")
