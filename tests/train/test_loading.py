"""What a library raises over a model's folder, and what comes of it."""

import errno
from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="needs the extra 'train'")

from pipeline.errors import TeacherError
from pipeline.train.loading import loading


def test_whatever_a_library_says_of_a_folder_is_one_message_that_names_it(tmp_path: Path) -> None:
    from safetensors import SafetensorError, safe_open
    from tokenizers import Tokenizer

    (tmp_path / "bad").write_bytes(b"{}")
    said = f"{tmp_path} cannot be loaded: Exception: "
    with pytest.raises(TeacherError, match=said), loading(tmp_path):
        Tokenizer.from_file(str(tmp_path / "bad"))  # raises Exception itself
    with pytest.raises(TeacherError, match="cannot be loaded") as told, loading(tmp_path):
        safe_open(tmp_path / "bad", "np")
    assert isinstance(told.value.__cause__, SafetensorError)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), OSError(errno.EMFILE, "too many"), RuntimeError("can't start new thread")],
)
def test_what_the_machine_lacks_is_not_said_of_the_folder(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(type(error)) as told, loading(tmp_path):
        raise error
    assert told.value is error
