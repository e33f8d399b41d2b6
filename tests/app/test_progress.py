"""Bars are drawn where a person watches, and nowhere else."""

import io
import re
import subprocess
import sys

import pytest
from command_line import HANG
from networks import sample

from cnnx import progress
from cnnx.models import article_cnn
from cnnx.network import Progress
from cnnx.train import EpochReport


class Terminal(io.StringIO):
    def isatty(self):
        return True


def train(bar, **options):
    digits = sample()
    held_out = digits.test_images[:10], digits.test_labels[:10]
    run = {"epochs": 2, "batch_size": 10, "learn_rate": 0.01, "progress_every": 4, "validation": held_out} | options
    article_cnn(rng=0).fit(digits.train_images[:100], digits.train_labels[:100], rng=0, on_progress=bar, **run)


def test_a_progress_says_how_far_the_end_is():
    seen = []
    train(seen.append)
    assert [(it.epoch, it.step, it.epochs, it.steps) for it in seen] == [
        (epoch, step, 2, 10) for epoch in (1, 2) for step in (4, 8, 10)
    ]


@pytest.mark.smoke
def test_a_terminal_shows_a_bar_for_each_epoch():
    pytest.importorskip("tqdm", reason="tqdm is not installed (extra progress)")
    terminal = Terminal()
    train(progress.bar(terminal))
    *lines, end = terminal.getvalue().split("\n")
    assert (len(lines), end) == (2, "")
    for number, line in enumerate((line.split("\r")[-1] for line in lines), 1):
        assert re.fullmatch(rf"epoch {number}/2: 100%\|.*\| 10/10 \[.* loss \d\.\d+, validation \d\.\d+\] *", line), (
            line
        )


@pytest.mark.parametrize(
    "later",
    [{"steps": 4, "step": 2}, {"steps": 10, "step": 2}, {"steps": 10, "step": 4}, {"epoch": 2, "step": 6}],
    ids=str,
)
def test_after_an_error_the_next_training_has_a_bar_of_its_own(later):
    pytest.importorskip("tqdm", reason="tqdm is not installed (extra progress)")
    terminal = Terminal()
    bar = progress.bar(terminal)
    first = Progress(1, 4, 0.75, 0.5, None, 2, 10)
    bar(first)  # and then comes Ctrl-C
    second = first._replace(**later)
    bar(second)
    bar(second._replace(step=second.steps, loss=0.25))
    old, new, end = terminal.getvalue().split("\n")
    assert re.search(r"epoch 1/2: .* 4/10 .*loss 0\.750", old.split("\r")[-1])
    assert re.search(
        rf"epoch {second.epoch}/2: 100%.* {second.steps}/{second.steps} .*loss 0\.250", new.split("\r")[-1]
    )
    assert end == ""


def test_what_is_no_terminal_is_named():
    with pytest.raises(TypeError, match="file: expected a terminal or another text file"):
        progress.bar(3)


def test_without_a_terminal_nothing_is_drawn(capsys):
    file = io.StringIO()
    train(progress.bar(file))
    train(progress.bar())
    assert (file.getvalue(), *capsys.readouterr()) == ("", "", "")


@pytest.mark.parametrize("how", ["sys.modules['tqdm'] = None", "import os; os.environ['TQDM_DISABLE'] = '1'"])
def test_without_tqdm_and_if_it_is_switched_off_nothing_is_drawn(how):
    program = f"""
import io, sys
{how}
import cnnx
class Terminal(io.StringIO):
    isatty = lambda self: True
terminal = Terminal()
digits = cnnx.data.load()
bar = cnnx.progress.bar(terminal)
cnnx.models.article_cnn().fit(digits.train_images, digits.train_labels, epochs=1, learn_rate=0.01, on_progress=bar)
print(repr(terminal.getvalue()))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=HANG)
    assert (ended.stdout, ended.stderr) == ("''\n", "")


@pytest.mark.parametrize("has_tqdm", [True, False])
def test_the_command_s_bar_goes_and_its_lines_stay(monkeypatch, has_tqdm):
    if has_tqdm:
        pytest.importorskip("tqdm", reason="tqdm is not installed (extra progress)")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    terminal = Terminal()
    lines = []
    report = EpochReport(20, 10, lines.append, terminal)
    report(Progress(1, 1, 0.75, 0.5))
    assert ("0/20" if has_tqdm else "[###############...............] epoch 1, loss 0.750") in terminal.getvalue()
    report(Progress(1, 2, 0.5, 0.5))
    assert len(lines) == 1
    assert terminal.getvalue().split("\r")[-1].replace("\x1b[K", "").strip() == ""  # the bar is wiped out
