from pathlib import Path

import pytest

from scripts.write_map import entries, first_sentence, page

ROOT = Path(__file__).parents[3]


def test_every_room_of_the_package_is_on_the_map() -> None:
    text = page(ROOT)
    for room in (ROOT / "src" / "model_trainer").iterdir():
        if (room.suffix == ".py" and room.name != "__init__.py") or (room / "__init__.py").exists():
            assert f"`{room.name}" in text, room


def test_a_folder_lists_its_files_before_its_folders(tmp_path: Path) -> None:
    for name in ("b", "b/inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f'"""The room {name}."""\n')
    (tmp_path / "b" / "z.py").write_text('"""The last\nletter. And more."""\n')
    assert list(entries(tmp_path / "b", depth=0)) == [
        "- `b/`: The room b.\n",
        "  - `z.py`: The last letter.\n",
        "  - `inner/`: The room b/inner.\n",
    ]


def test_a_file_without_a_docstring_is_refused() -> None:
    path = ROOT / "tests" / "unit" / "scripts" / "test_write_map.py"
    with pytest.raises(SystemExit, match="has no docstring"):
        first_sentence(path)
