"""Which pairs belong together: those of one patient, slide, building or video look alike, so that
none of them may be held out while others are trained on.

A pattern may come with a stranger's run, and a regular expression can take for ever. So it is
matched in a process of its own, which is given up after some seconds.
"""

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pix2pix.pairs.file_pairs import FilePair
from pix2pix.talk.errors import UserError, on_one_line

BY_FOLDER = "folder"  # instead of a pattern: the folder that a pair lies in
SECONDS = 10  # that a pattern may take for all paths
MATCHER = """
import json, re, sys
pattern, paths = json.load(sys.stdin)
part = re.compile(pattern).groups  # 1: what is in brackets; 0: all
matches = [re.search(pattern, path) for path in paths]
found = [(match[part] or "") if match else "" for match in matches]
json.dump(found, sys.stdout)
"""
PREFIX = r"([^/]+)[_-]"  # of a name, up to its last separator
FEWEST = 3  # groups that names must suggest, to be told


def put_into_groups(pairs: Sequence[FilePair], group: str) -> list[FilePair]:
    """Return pairs that know the groups which --group puts them into."""
    groups = find_groups([pair.path for pair in pairs], group)
    return [replace(pair, group=own) for pair, own in zip(pairs, groups, strict=True)]


def find_groups(paths: Sequence[str], group: str) -> list[str]:
    """Return the group of each pair, given its path within the folder of its split."""
    if group == BY_FOLDER:
        groups, rule = [folder_of(path) for path in paths], "lies in no folder of its own"
    else:
        groups, rule = match_all(group, paths), "does not match"
    without = [path for path, name in zip(paths, groups, strict=True) if not name]
    if without:
        more = f", and {len(without) - 1:,} more" if len(without) > 1 else ""
        raise UserError(f"--group {group}: {on_one_line(without[0])} {rule}{more}.")
    return groups


def match_all(pattern: str, paths: Sequence[str]) -> list[str]:
    """Return what a pattern, or its part in brackets, matches in each path; or nothing."""
    command = [sys.executable, "-I", "-c", MATCHER]
    asked = json.dumps([pattern, list(paths)])
    try:
        done = subprocess.run(
            command, input=asked, capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except subprocess.TimeoutExpired:
        why = f"takes more than {SECONDS} seconds for {len(paths):,} paths. Use a simpler pattern"
        raise UserError(f"--group {pattern}: {why}.") from None
    return json.loads(done.stdout)


def shared_groups(groups: Mapping[str, set[str]]) -> Iterator[tuple[str, list[str]]]:
    """Find the groups of each other split that are in the training pairs, too."""
    for name, own in groups.items():
        shared = sorted(own & groups["train"])
        if name != "train" and shared:
            yield name, shared


def suggest_groups(paths: Sequence[str]) -> tuple[str, Counter[str]] | None:
    """Return what --group may be for pairs of such paths, and how many pairs each group has then;
    None where neither folders nor names suggest any."""
    matches = [re.search(PREFIX, path) for path in paths]
    names = {
        BY_FOLDER: [folder_of(path) for path in paths],
        PREFIX: [match[1] if match else "" for match in matches],
    }
    for group, of_pairs in names.items():
        counts = Counter(of_pairs)
        if "" not in counts and FEWEST <= len(counts) <= len(paths) / 2:
            return group, counts
    return None


def folder_of(path: str) -> str:
    """Return the folder of a path; nothing where there is none."""
    return path.rpartition("/")[0]
