"""A notice that changes: who is asked again, and for what."""

from typing import TYPE_CHECKING

from considerate.consent.notices import NOTICE
from considerate.consent.publishing import read_notices
from considerate.consent.purposes import Purpose

if TYPE_CHECKING:
    from pathlib import Path

    from tests.serving.conftest import Client, World

CHANGED, UNTOUCHED = Purpose.TRAIN_MODELS, Purpose.PERSONALISE_ONSITE


def after_a_material_change(world: "World", folder: "Path") -> "Client":
    home = folder / NOTICE.notice_id
    home.mkdir(parents=True)
    (home / "2.toml").write_text(f'valid_from = 2026-06-01T00:00:00Z\nmaterial = ["{CHANGED}"]\n')
    (home / "2.en.txt").write_text("We now learn from returns too.")
    return world.client(notices=read_notices(folder, at=world.clock()))


def test_only_the_changed_purpose_is_due_again(world: "World", tmp_path: "Path") -> None:
    world.know("ann", CHANGED, UNTOUCHED)
    headers = world.token("ann")
    assert world.client()("GET", "/v1/me/consents", headers=headers).json()["due"] == []
    client = after_a_material_change(world, tmp_path / "notices")
    body = client("GET", "/v1/me/consents", headers=headers).json()
    assert body["due"] == [CHANGED]
    assert (body["notice"]["version"], body["notice"]["text"]) == (2, {"en": "We now learn from returns too."})
    switches = {one["purpose"]: (one["state"], one["effective"], one["reason"]) for one in body["consents"]}
    assert switches[CHANGED] == ("given", False, "notice_changed")
    assert switches[UNTOUCHED] == ("given", True, "ok")


def test_a_yes_to_the_old_words_is_409_and_to_the_new_ones_counts(world: "World", tmp_path: "Path") -> None:
    world.know("ann", CHANGED)
    client, headers = after_a_material_change(world, tmp_path / "notices"), world.token("ann")
    body = {"notice_id": NOTICE.notice_id, "notice_version": 1, "locale": "en"}
    stale = client("PUT", f"/v1/me/consents/{CHANGED}", json=body, headers=headers)
    assert (stale.status_code, "version 2 in en" in stale.json()["detail"]) == (409, True)
    given = client("PUT", f"/v1/me/consents/{CHANGED}", json={**body, "notice_version": 2}, headers=headers)
    assert given.status_code == 200
    assert client("GET", "/v1/me/consents", headers=headers).json()["due"] == []
