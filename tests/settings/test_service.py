"""The service TOML: what is committed is valid, what is wrong is named."""

from pathlib import Path

import pytest

from considerate.errors import ConfigError
from considerate.settings.service import ServiceConfig
from considerate.settings.toml import read_toml

COMMITTED = Path(__file__).parents[2] / "configs" / "service.toml"


def test_the_committed_file_listens_on_this_machine_alone_and_denies_unknown_ages() -> None:
    config = read_toml(COMMITTED, ServiceConfig)
    assert config.host == "127.0.0.1"
    assert config.policy.unknown_age == "deny"
    assert config.surfaces == {"home": "all", "discover": "new", "again": "repeat"}
    assert config.request_seconds <= 1


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("port=0", r"port = 0; .*greater than or equal to 1"),
        ("port=65536", r"port = 65536"),
        ("workers=0", r"workers = 0"),
        ("workers=many", r"workers = 'many'"),
        ("request_seconds=5", r"request_seconds = 5; .*less than or equal to 1"),
        ('auth.algorithms=["HS256"]', r"auth -> algorithms -> 0 = 'HS256'"),
        ('auth.algorithms=["none"]', r"auth -> algorithms -> 0 = 'none'"),
        ("auth.algorithms=[]", r"auth -> algorithms = \[\]"),
        ('auth.jwks="http://shop.example/jwks.json"', r"keys must come over https"),
        ('auth.issuer=""', r"auth -> issuer = ''"),
        ("surfaces.home=everything", r"surfaces -> home = 'everything'"),
        ('surfaces."the home"="all"', r"--set|surface"),
        ("lists.default_n=500", r"default_n = 500 must be <= max_n = 100"),
        ("policy.unknown_age=child", r"policy -> unknown_age = 'child'"),
        ("store.write_timeout_ms=2000", r"store -> write_timeout_ms = 2000"),
        ("tracing.exporter=all", r"tracing -> exporter = 'all'"),
        ("rates.customer_per_minute=0", r"rates -> customer_per_minute = 0"),
        ("rates.address_per_minute=-1", r"rates -> address_per_minute = -1"),
        ("limits.items=0", r"limits -> items = 0"),
        ("colour=blue", r"colour is not a known key"),
        ("auth.secret=x", r"auth -> secret is not a known key"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(override: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read_toml(COMMITTED, ServiceConfig, [override])


def test_a_service_without_any_key_to_believe_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "service.toml"
    path.write_text('[auth]\nissuer = "i"\naudience = "a"\n[model]\nname = "m"\n[surfaces]\nhome = "all"\n')
    with pytest.raises(ConfigError, match="no key to believe: set jwks, or development_key"):
        read_toml(path, ServiceConfig)
