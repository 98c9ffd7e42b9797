"""README and tutorial are run as they stand, and every link in the documentation leads on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks(page: Path) -> list[tuple[str, str]]:
    """A page's code blocks as (language, text)."""
    return re.findall(r"^```(sh|python)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def script(*pages: list[tuple[str, str]]) -> str:
    """Blocks, one after the other, as a reader would run them in one shell."""
    # What runs in the background holds the output open: it has to go when a step fails.
    parts = ["set -eum; trap 'kill $(jobs -p) 2>/dev/null || :' EXIT"]
    for language, text in chain(*pages):
        if text.startswith("cat inbox/"):  # "a moment later"
            file = text.split()[1]
            parts.append(f"for _ in $(seq 200); do [ ! -e {file} ] || break; sleep 0.05; done")
        parts.append(text if language == "sh" else f"python - <<'END'\n{text}END")
    return "\n".join(parts)


def read_along(folder: Path, *pages: list[tuple[str, str]]) -> subprocess.CompletedProcess[str]:
    """Run blocks in the repository and end what they left running."""
    shell = subprocess.Popen(
        ["bash", "-c", script(*pages)],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = shell.communicate(timeout=90)
    finally:
        end_session(shell.pid)
    return subprocess.CompletedProcess(shell.args, shell.returncode, output, errors)


def end_session(session: int) -> None:
    """Kill every process of a session: jobs have groups of their own."""
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.getsid(int(entry.name)) == session:
                os.kill(int(entry.name), signal.SIGKILL)
        except ProcessLookupError:
            continue  # it ended meanwhile


@pytest.mark.needs("bash")
@pytest.mark.parametrize("name", ["README.md", "docs/tutorial/first-round-trip.md"])
def test_a_reader_who_types_what_the_page_says_gets_there(name: str, tmp_path: Path) -> None:
    done = read_along(tmp_path, blocks(REPOSITORY / name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"^1001,.*,Germany,Berlin,EUR", done.stdout, re.MULTILINE), done.stdout
    if "continent" in script(blocks(REPOSITORY / name)):
        assert re.search(r"^1001,.*,Germany,Berlin,EUR,EU", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.needs("bash")
def test_the_python_page_works_in_the_folder_that_the_readme_makes(tmp_path: Path) -> None:
    by_hand = blocks(REPOSITORY / "README.md")[1]
    page = blocks(REPOSITORY / "docs" / "how-to" / "use-from-python.md")
    done = read_along(tmp_path, [by_hand], page)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^partial /.*/inbox/orders.*\.csv$", done.stdout, re.MULTILINE), done.stdout
    assert len(re.findall(r"-orders\.csv partial$", done.stdout, re.MULTILINE)) == 3


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    targets = LINK.findall(page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_generated_parts_are_as_the_code_says() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "docs", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_reached_from_the_index() -> None:
    index = REPOSITORY / "docs" / "index.md"
    reached, ahead = set(), [index]
    while ahead:
        page = ahead.pop()
        if page.suffix == ".md" and page not in reached:
            reached.add(page)
            links = LINK.findall(page.read_text())
            ahead += [(page.parent / target).resolve() for target in links]
    assert set(PAGES[1:]) - reached == set()
