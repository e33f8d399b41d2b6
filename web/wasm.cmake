# A CMake toolchain file: Debian's Clang and LLD for WebAssembly.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR wasm32)
set(CMAKE_CXX_COMPILER clang++-19)
set(CMAKE_CXX_COMPILER_TARGET wasm32-wasi)
# A module cannot be linked before core.cpp has said what it exports.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
# The core throws only for arguments that core.js refuses, so no code has to catch anything. Relaxed SIMD stays off: its
# results depend on the browser's CPU.
set(CMAKE_CXX_FLAGS_INIT "-msimd128 -fignore-exceptions")
