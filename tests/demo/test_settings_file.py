"""The demo brings settings of its own, and leaves those of others alone."""

from __future__ import annotations

from pathlib import Path

from app.config import SETTINGS_FILE, Config
from app.demo.settings import SKYMAP_SETTINGS
from app.wiring_images import write_demo_settings


def test_a_fresh_folder_gets_the_sky_map_of_the_survey(tmp_path: Path) -> None:
    write_demo_settings(tmp_path / "new")
    config = Config(data_dir=tmp_path / "new")
    assert {name: getattr(config, name) for name in SKYMAP_SETTINGS} == SKYMAP_SETTINGS


def test_settings_that_are_there_stay(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_text('title = "Ours"\n')
    write_demo_settings(tmp_path)
    assert (tmp_path / SETTINGS_FILE).read_text() == 'title = "Ours"\n'
