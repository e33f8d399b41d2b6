// Memory for numbers, aligned to a cache line and filled with zeros.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "../kernels/kernels.hpp"

namespace cnnx {

inline constexpr std::align_val_t cache_line{64};

template <class T>
struct FreeAligned {
  void operator()(T* buffer) const noexcept { ::operator delete[](buffer, cache_line); }
};

template <class T>
using Buffer = std::unique_ptr<T[], FreeAligned<T>>;

template <class T>
Buffer<T> new_buffer(Index count) {
  const std::size_t bytes = sizeof(T) * static_cast<std::size_t>(count);
  Buffer<T> buffer(static_cast<T*>(::operator new[](bytes, cache_line)));
  std::memset(static_cast<void*>(buffer.get()), 0, bytes);
  return buffer;
}

// Whether numbers begin a cache line, so that no register is read from two of them.
inline bool is_aligned(const void* numbers) noexcept {
  return reinterpret_cast<std::uintptr_t>(numbers) % static_cast<std::size_t>(cache_line) == 0;
}

template <class T>
void copy(T* to, const T* from, Index count) noexcept {
  std::memcpy(to, from, sizeof(T) * static_cast<std::size_t>(count));
}

// `count` rounded up to whole cache lines of T, which are whole registers of any target.
template <class T>
constexpr Index whole_lines(Index count) noexcept {
  return (count + lanes_of<T> - 1) / lanes_of<T> * lanes_of<T>;
}

}  // namespace cnnx
