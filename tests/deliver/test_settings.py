"""What is wrong with a delivery's configuration is said in one clear line, with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from roundtrip.config import load
from roundtrip.deliver.settings import DeliverySettings, PluginSettings, WebhookSettings
from roundtrip.errors import ConfigError

MAIL = "mail: {server: smtp.example.org, from: rt@example.org}\n"

KEY = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"

WRONG = [
    ("deliver: {x: {}}", "deliver.x: says not how; give it one of: exec, mail"),
    ("deliver: {x: {exec: [a], http: 'http://h/'}}", "this one has exec; make two deliveries"),
    ("deliver: {x: {mail: {to: a@b}}}", "deliver.x.mail: needs a server"),
    (MAIL + "deliver: {reply: {exec: [a]}}", "deliver.reply: is the name of what mails"),
    ("deliver: {x: {exec: []}}", "must not be empty"),
    ("deliver: {x: {exec: ['{name}']}}", "deliver.x.exec.run: a field can't choose the program"),
    ("deliver: {x: {exec: {run: [a], timeout: soon}}}", "'soon' is not a duration"),
    ("deliver: {x: {exec: [a], on: [lost]}}", "must be enriched, partial or failed"),
    ("deliver: {x: {exec: [a], expires: 7d}}", "unknown key; did you mean 'expire'?"),
    ("deliver: {x: {http: 'ftp://h/'}}", "must begin with http:// or https://"),
    ("deliver: {x: {http: 'http://h/{name}'}}", "has a {field}, and this URL is the same"),
    ("deliver: {x: {http: {url: 'http://h/', secret: abc}}}", "is not whsec_ and base64"),
    ("deliver: {x: {http: {url: 'http://h/', secret: [abc]}}}", "http.secret: is not whsec_"),
    (
        f"deliver: {{x: {{http: {{url: 'http://h/', secret: [{KEY}, whsec_c2hvcnQ=]}}}}}}",
        "deliver.x.http.secret[1]: is short",
    ),
    ("deliver: {x: {http: {url: 'http://h/', secret: []}}}", "http.secret: must not be empty"),
    (
        "deliver: {x: {http: {url: 'http://h/', secret: '${NOWHERE}'}}}",
        "http.secret: the secret NOWHERE is nowhere",
    ),
    (
        "deliver: {x: {http: {url: 'http://h/', proxy: 'https://p'}}}",
        "deliver.x.http.proxy: is not http:// and a host; write it like",
    ),
    ("deliver: {x: {http: {url: 'http://h/', proxy: p}}}", "is not http:// and a host"),
    ("deliver: {x: {http: {url: 'http://h/', proxy: 'http://p/x'}}}", "is not http:// and a host"),
    ("deliver: {x: {http: {url: 'http://h/', proxy: 'http://u:a b@p'}}}", "percent-encode it"),
    (
        "deliver: {x: {http: {url: 'http://h/', proxy: 'http://p:${NOWHERE}@h'}}}",
        "http.proxy: the secret NOWHERE is nowhere",
    ),
    ("deliver: {x: {http: 'http://${NOWHERE}/'}}", "the secret NOWHERE is nowhere"),
    ("deliver: {x: {tcp: here}}", "'here' is not HOST:PORT"),
    ("deliver: {x: {plugin: nobody}}", "no installed package has 'nobody' in entry point group"),
    (
        "deliver: {x: {plugin: {use: acme, options: {a: [{b: '${NOWHERE}'}]}}}}",
        "deliver.x.plugin.options.a[0].b: the secret NOWHERE is nowhere",
    ),
    (
        "deliver: {x: {plugin: {use: acme, options: {a: [{b: '${}'}]}}}}",
        "deliver.x.plugin.options: has '${' without a secret's name",
    ),
    ("deliver: {x: {exec: [a], fields: {name: '('}}}", "is not a regular expression"),
    ("deliver: {x: {exec: [a], fields: {name: abc}}}", "has no named group"),
    (
        "deliver: {x: {exec: [a, '{nmae}'], fields: {record: false}}}",
        "no file has a field 'nmae'",
    ),
    ("mail: {server: 'smtp.example.org:25', from: a@b.c}", "its port goes into port"),
    ("mail: {server: h, from: nobody}", "'nobody' is not a mail address"),
    ("mail: {server: h, from: a@b.c, password: x}", "mail.password: needs user"),
    ("look: {listen: '0.0.0.0:9465', token: x}", "is not on the loopback"),
    ("look: {listen: '127.0.0.1:9465'}", "look.token: missing"),
    ("look: {listen: '127.0.0.1:9465', token: ''}", "look.token: is short: it has 0 characters"),
    ("look: {listen: '127.0.0.1:9465', token: 'fifteen of them'}", "and needs 16; make one: see"),
    ("look: {listen: '127.0.0.1:9465', token: 'x${SHORT}'}", "look.token: is short: it has 6 "),
    ("look: {listen: '127.0.0.1:9465', token: '${NOWHERE}'}", "the secret NOWHERE is nowhere"),
]


def loaded(tmp_path: Path, text: str, role: str = "a") -> list[DeliverySettings]:
    file = tmp_path / "roundtrip.yaml"
    file.write_text(f"role: {role}\n{text}\n")
    return list(load(file).deliveries)


@pytest.mark.parametrize(("text", "said"), WRONG)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("SHORT", "short")
    with pytest.raises(ConfigError) as told:
        loaded(tmp_path, text)
    (line,) = told.value.problems
    assert said in line
    assert line.startswith(f"{tmp_path}/roundtrip.yaml:")


def test_the_pause_grows_to_the_first_one_at_least(tmp_path: Path) -> None:
    (found,) = loaded(tmp_path, "deliver: {x: {exec: [a], retry: {min_delay: 1h}}}")
    assert (found.min_delay, found.max_delay) == (3600.0, 3600.0)


def test_a_mail_server_alone_makes_the_delivery_of_those_who_asked(tmp_path: Path) -> None:
    (found,) = loaded(tmp_path, MAIL)
    assert found.name == "reply"
    assert found.wants("failed", None, "x", asked=True)
    assert not found.wants("enriched", None, "x", asked=False)


def test_role_b_has_no_deliveries_to_check_and_needs_none_of_their_secrets(tmp_path: Path) -> None:
    text = "deliver: {x: {plugin: nobody}, y: {http: 'http://h/${NOWHERE}'}}\n"
    text += "pipelines: {p: {steps: [{name: s, command: [cat]}]}}"
    loaded(tmp_path, text, "b")


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_token_that_is_short_is_refused_by_either_role_and_a_long_one_is_kept(
    tmp_path: Path, role: str
) -> None:
    text = "look: {{listen: '127.0.0.1:9465', token: '{}'}}"
    if role == "b":
        text += "\npipelines: {{p: {{steps: [{{name: s, command: [cat]}}]}}}}"
    loaded(tmp_path, text.format("sixteen-of-them!"), role)
    with pytest.raises(ConfigError, match=r"look\.token: is short"):
        loaded(tmp_path, text.format("fifteen-of-them"), role)


def test_secrets_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUSH", "hushhush")
    text = (
        "mail: {server: h, from: a@b.c, user: u, password: '${HUSH}'}\n"
        "deliver:\n"
        "  x: {http: {url: 'http://h/${HUSH}', headers: {A: '${HUSH}'},"
        " proxy: 'http://u:${HUSH}@p'}}\n"
        "  y: {exec: {run: [a], environment: {A: '${HUSH}'}}}\n"
    )
    assert "hushhush" not in repr(loaded(tmp_path, text))


def test_the_texts_of_a_plugins_options_have_their_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUSH", "hush{hush}")
    (tmp_path / "acme.py").write_text("def made(**options): ...\n")
    about = tmp_path / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[roundtrip.deliveries]\nacme = acme:made\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = (
        "deliver: {x: {plugin: {use: acme, options: "
        "{a: 'see ${HUSH}', b: [1, {c: '${HUSH}'}], d: '$${HUSH}', e: 2.5}}}}"
    )
    (found,) = loaded(tmp_path, text)
    assert isinstance(found.action, PluginSettings)
    assert found.action.options == {
        "a": "see hush{hush}", "b": [1, {"c": "hush{hush}"}], "d": "${HUSH}", "e": 2.5,
    }  # fmt: skip
    assert "hush{" not in repr(found)


def test_a_field_of_the_name_or_of_the_file_is_known(tmp_path: Path) -> None:
    text = (
        "deliver: {x: {exec: [a, '{customer}', '{stats.records}', '{path}'],"
        " fields: {record: false, name: '(?P<customer>.*)'}}}"
    )
    assert len(loaded(tmp_path, text)) == 1


PAGES = Path(__file__).parents[2] / "docs/how-to"
EXAMPLES = [
    (page, text)
    for page in ("run-a-program-on-arrival", "deliver-by-mail", "webhook", "tcp-feed")
    for text in re.findall(r"```yaml\n(.*?)```", (PAGES / f"{page}.md").read_text(), re.DOTALL)
]


@pytest.mark.parametrize(("page", "text"), EXAMPLES)
def test_the_examples_of_the_how_to_pages_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, text: str
) -> None:
    for name in ("SMTP_PASSWORD", "ALARM_TOKEN", "LOOK_TOKEN", "PROXY_PASSWORD"):
        monkeypatch.setenv(name, "x" * 16)
    monkeypatch.setenv("SHOP_SECRET", KEY)
    loaded(tmp_path, text)


def test_secrets_are_kept_in_their_order_and_checked_once_they_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEW", KEY)
    text = "deliver: {{x: {{http: {{url: 'http://h/', secret: ['${{NEW}}', {0}], proxy: '{1}'}}}}}}"
    old = "whsec_" + "QUJD" * 8
    (found,) = loaded(tmp_path, text.format(old, "http://u:${NEW}@p:1"))
    assert isinstance(found.action, WebhookSettings)
    assert found.action.secrets == (KEY, old)
    assert found.action.proxy == f"http://u:{KEY}@p:1"
    assert KEY not in repr(found) and old not in repr(found)
    with pytest.raises(ConfigError, match=r"http\.proxy: is not http:// and a host"):
        loaded(tmp_path, text.format(old, "${NEW}"))
