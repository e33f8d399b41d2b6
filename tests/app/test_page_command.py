"""`python -m cnnx.page` opens the page that trains in a browser."""

import webbrowser

import pytest
from command_line import run_main

from cnnx import page


@pytest.fixture
def opened(monkeypatch, tmp_path):
    """Give the package a page, and return the list of the addresses that a browser is asked for."""
    (tmp_path / "page.html").write_text("<!doctype html>")
    monkeypatch.setattr(page, "_PAGE", tmp_path / "page.html")
    addresses = []
    monkeypatch.setattr(webbrowser, "open", lambda address: addresses.append(address) is None)
    return addresses


def test_the_page_opens_in_the_browser(opened):
    address = page._PAGE.as_uri()
    assert run_main(page.main) == (0, f"{address}\n", "")
    assert opened == [address]


def test_a_package_without_the_page_says_how_to_get_it(opened):
    page._PAGE.unlink()
    code, printed, errors = run_main(page.main)
    assert (code, printed) == (2, "")
    assert "run web/build.sh before pip install" in errors
    assert not opened


@pytest.mark.usefixtures("opened")
def test_a_machine_without_a_browser_is_told_the_address(monkeypatch):
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    code, _, errors = run_main(page.main)
    assert code == 2
    assert page._PAGE.as_uri() in errors
