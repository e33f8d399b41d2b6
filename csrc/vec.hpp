// The one file that knows compiler vector types. It is compiled once per CPU target with that target's flags,
// so everything in it has internal linkage: no copy can be shared between targets by the linker.
#pragma once

#include <type_traits>

namespace cnnx {
namespace {

#if defined(__AVX512F__)
inline constexpr int native_bytes = 64;
inline constexpr int register_count = 32;
#elif defined(__AVX2__)
inline constexpr int native_bytes = 32;
inline constexpr int register_count = 16;
#elif defined(__aarch64__)
inline constexpr int native_bytes = 16;
inline constexpr int register_count = 32;
#else
inline constexpr int native_bytes = 16;
inline constexpr int register_count = 16;
#endif

template <class T, int bytes>
struct VecOf {
  typedef T type __attribute__((vector_size(bytes)));
};

// A register's worth of T. Never wider than the target's registers: GCC would keep it in memory.
template <class T, int bytes = native_bytes>
using Vec = typename VecOf<T, bytes>::type;

template <class V, class T>
V load(const T* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class T>
void store(T* to, const V& v) {
  __builtin_memcpy(to, &v, sizeof v);
}

// The first `count` lanes; the others read as zero and are not written.
template <class V, class T>
V load_first(const T* from, int count) {
  V v{};
  for (int i = 0; i < count; ++i) v[i] = from[i];
  return v;
}

template <class V, class T>
void store_first(T* to, const V& v, int count) {
  for (int i = 0; i < count; ++i) to[i] = v[i];
}

// A tile of `count` registers over consecutive channels. A partial tile is one register of which only the
// first `channels` lanes exist in memory.
template <class T, int bytes, int vector_count, bool is_partial = false>
struct Tile {
  using V = Vec<T, bytes>;
  static constexpr int lanes = bytes / static_cast<int>(sizeof(T));
  static constexpr int vectors = vector_count;
  static constexpr bool partial = is_partial;

  static V read(const T* from, [[maybe_unused]] int channels) {
    if constexpr (partial)
      return load_first<V>(from, channels);
    else
      return load<V>(from);
  }
  static void write(T* to, const V& v, [[maybe_unused]] int channels) {
    if constexpr (partial)
      store_first(to, v, channels);
    else
      store(to, v);
  }
};

inline constexpr int most_tile_vectors = register_count == 32 && native_bytes == 64 ? 4 : 2;

// Covers `total` consecutive channels with the widest tiles that fit, then narrower ones, then a partial one:
// body(tile, first, channels). Lanes hold different outputs, so the split never changes a sum.
template <class T, int most_vectors = most_tile_vectors, class Body>
void for_separate_channel_tiles(int total, Body&& body, bool reach_back = false) {
  int first = 0;
  const auto sweep = [&](auto tile) {
    constexpr int channels = tile.lanes * tile.vectors;
    for (; total - first >= channels; first += channels) body(tile, first, channels);
  };
  if constexpr (most_vectors >= 4) sweep(Tile<T, native_bytes, 4>{});
  if constexpr (most_vectors >= 2) sweep(Tile<T, native_bytes, 2>{});
  sweep(Tile<T, native_bytes, 1>{});
  if constexpr (native_bytes > 32) sweep(Tile<T, 32, 1>{});
  if constexpr (native_bytes > 16) sweep(Tile<T, 16, 1>{});
  if (first == total) return;
  constexpr int least = 16 / static_cast<int>(sizeof(T));
  if (reach_back && total >= least)
    body(Tile<T, 16, 1>{}, total - least, least);
  else
    body(Tile<T, 16, 1, true>{}, first, total - first);
}

// The same for a body that may do a channel twice, because it sets and does not add: the last tile reaches back over
// channels already done, which is quicker than a partial one.
template <class T, int most_vectors = most_tile_vectors, class Body>
void for_channel_tiles(int total, Body&& body) {
  for_separate_channel_tiles<T, most_vectors>(total, body, true);
}

// a * b + c in one rounding where the target has a fused multiply-add. For loops over scalars: there the compiler may
// vectorise the products apart from the sums on one target and not on the other, and the results would differ.
inline float fused(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}
inline double fused(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

inline int smaller(int a, int b) {
  return a < b ? a : b;
}

// Calls body with `n`, 1 <= n <= most, as a compile-time constant, so that arrays of it live in registers.
template <int most, class Body>
void with_constant(int n, Body&& body) {
  if constexpr (most > 1) {
    if (n < most) return with_constant<most - 1>(n, body);
  }
  body(std::integral_constant<int, most>{});
}

}  // namespace
}  // namespace cnnx
