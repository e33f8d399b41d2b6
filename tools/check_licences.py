"""Check that a wheel has the licences of its contents, each once: `python tools/check_licences.py WHEEL LICENCE…`.

The licences are the names of their files. `sample.LICENSE.txt` is that of the digits, so both are there or neither.
"""

import sys
import zipfile
from email.parser import Parser
from pathlib import PurePath


def main(path: str, *expected: str) -> int:
    with zipfile.ZipFile(path) as wheel:
        files = [PurePath(name) for name in wheel.namelist()]
        (metadata,) = (name for name in files if name.match("*.dist-info/METADATA"))
        fields = Parser().parsestr(wheel.read(str(metadata)).decode())
    has_digits = "sample.LICENSE.txt" in expected
    wanted = {
        "files": sorted(expected),
        "License-File": sorted(expected),
        "License-Expression": ["MIT AND CC-BY-SA-3.0" if has_digits else "MIT"],
        "digits": ["cnnx/sample.npz"] * has_digits,
    }
    found = {
        "files": sorted(name.name for name in files if "LICENSE" in name.name),
        "License-File": sorted(PurePath(name).name for name in fields.get_all("License-File", [])),
        "License-Expression": fields.get_all("License-Expression", []),
        "digits": [str(name) for name in files if name.suffix == ".npz"],
    }
    wrong = [
        f"{path}: {name}: expected {wanted[name]}, got {found[name]}" for name in wanted if wanted[name] != found[name]
    ]
    print("\n".join(wrong) or f"{path}: {', '.join(expected)}; {found['License-Expression'][0]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
