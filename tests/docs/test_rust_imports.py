"""The check of Rust imports finds circles and upward imports, and this project's sources pass it."""

from __future__ import annotations

import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
TOOL = ROOT / "tools" / "rust_layers.py"


def check(sources: pathlib.Path) -> list[str]:
    """The check's complaints about some sources, without those about excuses that nothing needs."""
    ended = subprocess.run([sys.executable, TOOL, str(sources)], capture_output=True, text=True, timeout=60)
    return [line for line in ended.stdout.splitlines() if "NOT_YET" not in line and "not yet" not in line]


def write(sources: pathlib.Path, files: dict[str, str]) -> pathlib.Path:
    for name, code in files.items():
        file = sources / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    return sources


def test_a_circle_is_found_through_re_exports_and_inline_paths(tmp_path: pathlib.Path) -> None:
    files = {
        "lib.rs": "mod catalog;",
        "catalog/mod.rs": "mod names; mod effects;\npub use names::{Name, other as renamed};",
        "catalog/names.rs": 'pub struct Name; pub fn other() { let url = "http://super::"; super::effects::f() }',
        "catalog/effects.rs": "// use super::names;\nuse super::{Name,\n    renamed};\npub fn f() {}",
    }
    assert check(write(tmp_path / "src", files)) == [
        "src/catalog: the modules effects, names import each other",
        "    catalog::effects imports catalog::names",
        "    catalog::names imports catalog::effects",
    ]


def test_an_import_of_the_folders_own_file_closes_a_circle(tmp_path: pathlib.Path) -> None:
    files = {"catalog/mod.rs": "mod names; pub struct Own(names::Name);", "catalog/names.rs": "use super::Own;"}
    assert check(write(tmp_path / "src", files))[0] == "src/catalog: the modules mod, names import each other"


def test_an_upward_import_is_found_and_tests_may_have_one(tmp_path: pathlib.Path) -> None:
    files = {
        "client.rs": "pub struct Client;",
        "tree.rs": "#[cfg(test)]\nmod tests { use crate::client::Client; }\nfn f() { crate::client::Client; }",
        "item.rs": "#[cfg(test)]\nuse crate::client::Client;\n#[cfg(test)]\nmod tests { use super::*; }",
    }
    assert check(write(tmp_path / "src", files)) == ["tree imports client, which is in a higher layer"]


def test_the_sources_of_this_project_pass() -> None:
    ended = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout
