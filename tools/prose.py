"""Check that documentation, docstrings, comments and messages use the project's words.

The rules are in ``tools/prose.ini``. A match is printed as ``file:line: words (write instead)``, and any match
fails the check. Text in backticks and in code blocks is not prose. A line that ends with ``prose: quoted`` in a
comment holds a text of OpenSIPS or of another program.
"""

from __future__ import annotations

import configparser
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".md", ".py", ".pyi", ".rs"}
#: Files that say the words in order to forbid or to test them.
EXCLUDED = {"tools/prose.py", "CHANGELOG.md"}
QUOTED = "prose: quoted"

Line = tuple[int, str]


def read_file() -> configparser.ConfigParser:
    """Read the rule file."""
    file = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    file.optionxform = str  # type: ignore[assignment,method-assign]
    file.read(ROOT / "tools/prose.ini")
    return file


def read_rules(file: configparser.ConfigParser) -> list[tuple[re.Pattern[str], str]]:
    """Return the rules: a pattern, and the words to write instead."""
    words = [(rf"\b{pattern}\b", instead) for pattern, instead in file["words"].items()]
    # A sentence begins after the end of another, or where a doc comment, a docstring or a paragraph begins.
    begins = [
        (rf"(?:^|[.:] ){pattern.capitalize()}\b(?![^.?]*\?)", instead)
        for pattern, instead in file["beginnings"].items()
    ]
    return [(re.compile(pattern, re.IGNORECASE), instead) for pattern, instead in words] + [
        (re.compile(pattern), instead) for pattern, instead in begins
    ]


def prose_of_markdown(text: str) -> Iterator[Line]:
    """Yield the lines outside code blocks."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        elif not is_code:
            yield number, line.strip(" #*->|")


def prose_of_python(text: str) -> Iterator[Line]:
    """Yield the lines of comments and string literals."""
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in (tokenize.COMMENT, tokenize.STRING) and tokenize.tok_name[token.type] != "FSTRING_MIDDLE":
            continue
        for offset, line in enumerate(token.string.splitlines()):
            number = token.start[0] + offset
            if QUOTED not in lines[number - 1]:
                yield number, line.strip("# \"'")


#: A comment to its end, or a string literal.
RUST = re.compile(r"//[/!]?(?P<comment>.*)|\"(?P<literal>(?:[^\"\\]|\\.)*)\"")


def prose_of_rust(text: str) -> Iterator[Line]:
    """Yield comments and the string literals of each line."""
    for number, line in enumerate(text.splitlines(), 1):
        if QUOTED not in line:
            for match in RUST.finditer(line):
                yield number, (match["comment"] or match["literal"] or "").strip()


def prose_of(path: Path) -> Iterator[Line]:
    """Yield the numbered lines of prose in a file, without what stands in backticks."""
    text = path.read_text(encoding="utf-8")
    readers = {".md": prose_of_markdown, ".rs": prose_of_rust}
    for number, line in readers.get(path.suffix, prose_of_python)(text):
        yield number, re.sub(r"`[^`]*`", "`", line)


def files() -> Iterable[Path]:
    """Yield the files that are kept in git and hold prose."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if Path(name).suffix in SUFFIXES and name not in EXCLUDED and (ROOT / name).is_file():
            yield ROOT / name


def main(names: list[str]) -> int:
    """Print every match; return the exit status."""
    rules = read_rules(read_file())
    found = 0
    for path in map(Path, names) if names else files():
        for number, line in prose_of(path):
            for pattern, instead in rules:
                if match := pattern.search(line):
                    found += 1
                    print(f"{path.resolve().relative_to(ROOT)}:{number}: {match[0].strip(' .:')!r} ({instead}): {line}")
    print(f"prose: {found} lines to rewrite")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
