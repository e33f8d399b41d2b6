#!/usr/bin/env bash
# Builds web/dist/cnnx.html, the page that trains in a browser. It needs Debian 12 or newer. With --install it installs
# what is missing of Debian's packages; without, it names them and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$#" -gt 1 ] || { [ "$#" -eq 1 ] && [ "$1" != --install ]; }; then
  echo "usage: web/build.sh [--install]; got: $*" >&2
  exit 2
fi

missing=()
for package in clang-19 lld-19 libc++-19-dev-wasm32 libc++abi-19-dev-wasm32 libclang-rt-19-dev-wasm32 wasi-libc; do
  dpkg --status "$package" >/dev/null 2>&1 || missing+=("$package")
done
command -v cmake >/dev/null || missing+=(cmake)
command -v make >/dev/null || missing+=(make)
command -v python3 >/dev/null || missing+=(python3)
if [ "${#missing[@]}" -gt 0 ]; then
  install="apt-get install --no-install-recommends ${missing[*]}"
  if [ "$#" -eq 0 ]; then
    echo "web/build.sh: missing packages. Install them with '$install', or run 'web/build.sh --install' as root." >&2
    exit 1
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive $install -y -qq
fi

cmake -S web -B build/web -G "Unix Makefiles" --toolchain "$PWD/web/wasm.cmake" -DCNNX_WERROR=ON
cmake --build build/web --parallel 2 --target core
mkdir -p web/dist
cp build/web/core.wasm web/dist/core.wasm
python3 web/bundle.py
