"""What is code in a command line is found there, and what isn't is left alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from roundtrip.config import load
from roundtrip.errors import ConfigError
from roundtrip.scripts import refuse

CODE = """
sh|-c|cat {x}
sh|-ec|{x}
sh|-c|--|{x}
bash|-c|-x|{x}
bash|-euo|pipefail|-c|{x}
bash|-co|pipefail|{x}
bash|--norc|-c|{x}
fish|--command={x}
busybox|sh|-c|{x}
env|A=b|sh|-c|{x}
env|-S|sh -c {x}
nice|-n|5|dash|-c|{x}
timeout|5|/bin/zsh|-c|{x}
sudo|-u|x|ksh|-c|{x}
su|root|-c|echo {x}
su|-c|echo {x}|root
su|-|u|--command=echo {x}
su|-s|/bin/sh|-c|{x}|u
runuser|-u|a|--|sh|-c|{x}
flock|f|-c|{x}
flock|/tmp/sh|sh|-c|{x}
script|-qc|{x}
python3|-c|print('{x}')
python3.11|-Ic|{x}
python3|-W|ignore|-c|{x}
python3|-c{x}
perl|-e|{x}
perl|-lane|{x}
perl|-MSome::Module|-e|{x}
perl|-e|1|-e|{x}
perl|-i.bak|-pe|s/{x}//
ruby|-rjson|-e|{x}
node|-e|{x}
node|-pe|{x}
node|--require|m|--eval|{x}
node|--eval={x}
php|-r|{x}
lua5.4|-e|{x}
awk|{x}|f
awk|-F|,|-v|a=1|{x}
awk|--|{x}
gawk|-e|{x}
sed|s/a/{x}/
sed|--in-place|s/a/{x}/|f
sed|-e|p|-e|{x}
"""
TEXT = """
sh|-c|cat "$1"|sh|{x}
sh|-c|x|awk|{x}
sh|-c|x|sh|-c|{x}
sh|run.sh|{x}
su|u|-c|x|{x}
flock|f|prog|-c|{x}
env|A={x}|prog
python3|/opt/x.py|-c|{x}
python3|-m|mod|-c|{x}
python3|-c|code|{x}
python3|-c|code|-c|{x}
perl|x.pl|-e|{x}
node|x.js|{x}
awk|-f|p|{x}
awk|{print $1}|{x}
awk|-v|a={x}|prog|f
sed|-f|p|{x}
sed|-n|1p|{x}
sed|-i|s/a/b/|{x}
gzip|-c|{x}
date|--date={x}
"""


def holds(text: str) -> bool:
    return "{x}" in text


@pytest.mark.parametrize("line", CODE.split("\n")[1:-1])
def test_a_placeholder_in_code_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"a placeholder in the code that .* runs") as caught:
        refuse(line.split("|"), holds)
    assert "; write " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("line", TEXT.split("\n")[1:-1])
def test_a_placeholder_in_an_argument_is_not(line: str) -> None:
    refuse(line.split("|"), holds)


@pytest.mark.needs("awk", "bash", "flock", "perl", "sed")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["sh", "-c", "{x}"], "touch made"),
        (["bash", "-co", "pipefail", "{x}"], "touch made"),
        (["env", "-S", "sh -c {x}"], "'touch made'"),
        (["python3", "-c{x}"], "open('made', 'w')"),
        (["perl", "-MPOSIX", "-e", "{x}"], "open(F, '>made')"),
        (["awk", "-F", ",", "{x}"], 'BEGIN {system("touch made")}'),
        (["sed", "-n", "{x}", "/etc/passwd"], "1w made"),
        (["flock", "lock", "-c", "{x}"], "touch made"),
    ],
)
def test_what_is_refused_would_have_been_run(words: list[str], code: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        refuse(words, holds)
    subprocess.run([word.replace("{x}", code) for word in words], cwd=tmp_path, check=True)
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize("run", ["[sh, -c, 'cat {ip}']", "{run: [sh, -c, 'printf 1 #{ip}']}"])
@pytest.mark.parametrize("where", ["command", "exec"])
def test_a_configuration_is_refused_with_its_line(where: str, run: str, tmp_path: Path) -> None:
    sections = {
        "command": f"role: b\npipelines: {{p: {{steps: [{{name: s, command: {run}}}]}}}}\n",
        "exec": f"role: a\ndeliver: {{x: {{exec: {run}}}}}\n",
    }
    file = tmp_path / "roundtrip.yaml"
    file.write_text(sections[where])
    with pytest.raises(ConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert f"roundtrip.yaml:2: {'pipelines.p.steps' if where == 'command' else 'deliver.x'}" in (
        problem
    )
    assert "a placeholder in the code that sh runs" in problem and "sh '{...}'" in problem
