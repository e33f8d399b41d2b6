"""What the README shows runs as it is written there."""

import re
from pathlib import Path

import pytest

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_readme_s_code_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(blocks) >= 4
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "digits.npz").exists()
    assert "34,826" in capsys.readouterr().out


@pytest.mark.parametrize("line", re.findall(r"^python -m cnnx\.train.*$", README, flags=re.MULTILINE))
def test_the_readme_s_commands_are_commands(line):
    from cnnx.train import _parser

    _parser().parse_args(line.split()[3:])
