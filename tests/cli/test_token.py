"""`considerate token`: a login token on a development machine, and on no other."""

from pathlib import Path

import jwt
import pytest
import typer
from typer.testing import CliRunner

from considerate.cli.token import token
from considerate.errors import ConfigError

CONFIG = Path(__file__).parents[2] / "configs" / "service.toml"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("CONSIDERATE_HOME", str(tmp_path))
    made = typer.Typer()
    made.command()(token)
    return made


def run(app: typer.Typer, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["--config", str(CONFIG), *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_token_names_the_customer_and_opens_me_unless_said_otherwise(app: typer.Typer) -> None:
    minted = run(app, "--create-key", "--customer", "Zoë Ñ 1", "--minutes", "2")
    claims = jwt.decode(minted, options={"verify_signature": False})
    assert (claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == ("Zoë Ñ 1", "me", 120)
    service = jwt.decode(run(app, "--customer", "till", "--scope", "events:write"), options={"verify_signature": False})
    assert service["scope"] == "events:write"


def test_creating_the_key_alone_prints_no_token(app: typer.Typer, tmp_path: Path) -> None:
    assert run(app, "--create-key") == ""
    assert (tmp_path / "keys" / "development.pem").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--customer", "ann"], "no such key; create it: considerate token --create-key"),
        (["--create-key", "--customer", "ann", "--scope", "root"], "--scope root: must be one of me, events:write"),
        (
            ["--create-key", "--customer", "ann", "--minutes", "600"],
            "--minutes 600: here a token holds for 60 minutes at most; ask for less, or raise",
        ),
        ([], "--customer is missing"),
        (["--create-key", "--customer", " "], "--customer ' ' is empty; name whom the token is for"),
    ],
)
def test_what_is_missing_is_named(app: typer.Typer, arguments: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run(app, *arguments)


def test_no_token_without_a_configured_development_key(app: typer.Typer, tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    text = CONFIG.read_text().replace("development_key", 'jwks = "jwks.json"  # ')
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"\[auth\] development_key is not set"):
        CliRunner().invoke(app, ["--config", str(path), "--customer", "ann"], catch_exceptions=False)
