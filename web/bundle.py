"""Makes one HTML file of the page: ``python web/bundle.py`` writes web/dist/cnnx.html.

The file includes the styles, the modules, the core (web/dist/core.wasm, which build.sh makes) and the sample of digits.
So it works from a disk and from any web host.

A page that was opened from a disk cannot import modules from other files. So each module becomes a function that
returns what the module exports::

    import { a } from "./other.js";         const main_js = (() => {
    export const b = a + 1;                 const { a } = other_js;
                                            const b = a + 1;
                                            return { b };
                                            })();
"""

import base64
import re
import sys
import zlib
from pathlib import Path

WEB = Path(__file__).parent
DIST = WEB / "dist"
SAMPLE = WEB.parent / "python/cnnx/sample.npz"
MOST_BYTES = 750_000

IMPORT = re.compile(r'^import (?:\* as (?P<all>\w+)|(?P<names>\{[^}]*\})) from "\./(?P<module>[\w-]+)\.js";$', re.M)
DECLARED = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const|let) (\w+))", re.M)
LISTED = re.compile(r"^export \{([^}]*)\};$", re.M)
UNREAD = re.compile(r"^ *//.*\n|^/\*.*\*/\n|^ +|\n(?=\n)", re.M)  # comments, indentation and empty lines
LEFT_OVER = re.compile(r"^(?:import|export)\b.*$", re.M)


class Bundle:
    """Modules as functions, each after those that it imports."""

    def __init__(self) -> None:
        self.text = ""
        self._done: set[str] = set()
        self._open: list[str] = []

    def add(self, name: str) -> None:
        """Add a module and what it imports, unless they are there."""
        if name in self._done:
            return
        if name in self._open:
            raise ValueError(f"{name}.js: expected no circle of imports, got {' -> '.join([*self._open, name])}")
        self._open.append(name)
        source = (WEB / f"{name}.js").read_text()
        exported = DECLARED.findall(source)
        for names in LISTED.findall(source):
            exported += [item.strip() for item in names.split(",") if item.strip()]
        body = IMPORT.sub(self._import, source)
        body = LISTED.sub("", DECLARED.sub("", body))
        if found := LEFT_OVER.search(body):
            raise ValueError(f"{name}.js: expected imports and exports of the forms in bundle.py, got {found[0]!r}")
        body = UNREAD.sub("", body)
        self.text += f"const {_variable(name)} = (() => {{\n{body}return {{ {', '.join(exported)} }};\n}})();\n"
        self._open.pop()
        self._done.add(name)

    def _import(self, found: re.Match[str]) -> str:
        self.add(found["module"])
        names = found["all"] or re.sub(r"(\w+) as (\w+)", r"\1: \2", found["names"])
        return f"const {names} = {_variable(found['module'])};"


def _variable(module: str) -> str:
    return f"{module.replace('-', '_')}_js"


def _replaced(page: str, old: str, new: str) -> str:
    if page.count(old) != 1:
        raise ValueError(f"index.html: expected {old!r} once, got it {page.count(old)} times")
    return page.replace(old, new)


def _gzipped(data: bytes) -> bytes:
    # Less memory than the usual 8 means shorter blocks, each with a code of its own, which suits WebAssembly better.
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, memLevel=6)
    return compressor.compress(data) + compressor.flush()


def make() -> str:
    """Return the page."""
    bundle = Bundle()
    bundle.add("main")
    styles = UNREAD.sub("", (WEB / "style.css").read_text())
    if "</" in styles or "</script" in bundle.text:
        raise ValueError("expected styles and modules without a closing tag, which would end them in the page")
    core = _gzipped((DIST / "core.wasm").read_bytes())
    page = (WEB / "index.html").read_text()
    page = _replaced(page, '<link rel="stylesheet" href="style.css">', f"<style>\n{styles}</style>")
    page = _replaced(
        page, '<script type="module" src="main.js"></script>', f'<script type="module">\n{bundle.text}</script>'
    )
    for name, data in ("core", core), ("sample", SAMPLE.read_bytes()):
        empty = f'<script type="application/octet-stream" id="{name}">'
        page = _replaced(page, empty, empty + base64.b64encode(data).decode())
    return page


def main() -> int:
    """Write the page, or say what is missing."""
    if not (DIST / "core.wasm").exists():
        print("web/dist/core.wasm: expected the core, got none (web/build.sh makes it)", file=sys.stderr)
        return 1
    page = make().encode()
    if len(page) > MOST_BYTES:
        print(f"web/dist/cnnx.html: expected at most {MOST_BYTES} bytes, got {len(page)}", file=sys.stderr)
        return 1
    (DIST / "cnnx.html").write_bytes(page)
    print(f"web/dist/cnnx.html: {len(page):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
