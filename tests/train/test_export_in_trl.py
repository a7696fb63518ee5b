"""TRL takes the exported messages as they stand, without any mapping."""

from pathlib import Path

import pytest

pytest.importorskip("trl", reason="the extra 'train' is not installed")

from pipeline.train import tiny


# libraries warn of one another's settings
@pytest.mark.filterwarnings("ignore")
def test_a_trainer_takes_the_messages_as_they_are(small_run: Path, tmp_path: Path) -> None:
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    data = load_dataset(str(small_run / "data"), cache_dir=str(tmp_path / "cache"))
    size = tiny.Size(vocabulary=512, layers=1, context=256)
    texts = [turn["content"] for turns in data["train"]["messages"] for turn in turns]
    tokenizer = tiny.make_tokenizer(texts, size)
    model = tiny.make_model(tokenizer, size, seed=1)
    settings = SFTConfig(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=4,
        max_length=128,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        assistant_only_loss=True,
        disable_tqdm=True,
    )
    trainer = SFTTrainer(
        model,
        args=settings,
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        processing_class=tokenizer,
    )
    done = trainer.train()
    assert done.global_step == 2
    assert 0 < done.training_loss < 20
    assert 0 < trainer.evaluate()["eval_loss"] < 20
