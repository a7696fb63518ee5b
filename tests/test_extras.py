"""What is missing is named with the command that installs it, the same everywhere."""

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_no_message_names_the_other_synth_of_the_package_index() -> None:
    doctor = ROOT / "pipeline" / "doctor.py"  # reads the metadata, where extras are called so
    for folder in ("pipeline", "filters"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            assert "install synth" not in text, path
            assert "install 'synth" not in text, path
            assert path == doctor or "synth[" not in text, path
