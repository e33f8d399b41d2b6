// The one file that knows compiler vector types. It is compiled once per CPU target with that target's flags,
// so everything in it has internal linkage: no copy can be shared between targets by the linker.
#pragma once

#include <cstdint>
#include <type_traits>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

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

// As a == b and a < b are: -1 in the lanes where it holds, else 0.
template <class V>
auto equal(const V& a, const V& b) {
  return a == b;
}
template <class V>
auto less(const V& a, const V& b) {
  return a < b;
}
#if defined(__AVX512F__)
// Left to itself the compiler compares into a mask register, which takes a turn of a multiplier; into a vector does
// not.
inline auto equal(const Vec<float, 32>& a, const Vec<float, 32>& b) {
  return (decltype(a == b))_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ);
}
inline auto less(const Vec<float, 32>& a, const Vec<float, 32>& b) {
  return (decltype(a == b))_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ);
}
#endif

// Bit i for lane i that is not 0 (a NaN is not), of a whole register, on targets that have an instruction for it.
inline constexpr bool has_nonzero_lanes = native_bytes >= 32;
#if defined(__AVX512F__)
inline unsigned nonzero_lanes(const Vec<float>& v) {
  return _mm512_cmp_ps_mask((__m512)v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
}
inline unsigned nonzero_lanes(const Vec<double>& v) {
  return _mm512_cmp_pd_mask((__m512d)v, _mm512_setzero_pd(), _CMP_NEQ_UQ);
}
#elif defined(__AVX2__)
inline unsigned nonzero_lanes(const Vec<float>& v) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)v, _mm256_setzero_ps(), _CMP_NEQ_UQ)));
}
inline unsigned nonzero_lanes(const Vec<double>& v) {
  return static_cast<unsigned>(_mm256_movemask_pd(_mm256_cmp_pd((__m256d)v, _mm256_setzero_pd(), _CMP_NEQ_UQ)));
}
#endif

// Eight numbers, four from one place and four from another, of which every lane takes the one that its index names, on
// targets that have an instruction for it.
template <class V>
struct Lookup {
  static constexpr bool exists = false;
};
#if defined(__AVX2__)
template <>
struct Lookup<Vec<float, 32>> {
  static constexpr bool exists = true;
  using Indices = Vec<int, 32>;

  Lookup(const float* low, const float* high)
      : numbers(_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high), 1)) {}
  Vec<float, 32> operator[](const Indices& index) const {
    return (Vec<float, 32>)_mm256_permutevar8x32_ps(numbers, (__m256i)index);
  }

  __m256 numbers;
};
#endif
#if defined(__AVX512F__)  // masked with all lanes, since GCC 12 warns of the plain functions' own code
template <>
struct Lookup<Vec<float, 64>> {
  static constexpr bool exists = true;
  using Indices = Vec<int, 64>;

  Lookup(const float* low, const float* high)
      : numbers(_mm512_maskz_broadcast_f32x8(0xffff, Lookup<Vec<float, 32>>(low, high).numbers)) {}
  Vec<float, 64> operator[](const Indices& index) const {
    return (Vec<float, 64>)_mm512_maskz_permutexvar_ps(0xffff, (__m512i)index, numbers);
  }

  __m512 numbers;
};
template <>
struct Lookup<Vec<double, 64>> {
  static constexpr bool exists = true;
  using Indices = Vec<std::int64_t, 64>;

  Lookup(const double* low, const double* high)
      : numbers(_mm512_maskz_insertf64x4(0xff, _mm512_maskz_broadcast_f64x4(0xff, _mm256_loadu_pd(low)),
                                         _mm256_loadu_pd(high), 1)) {}
  Vec<double, 64> operator[](const Indices& index) const {
    return (Vec<double, 64>)_mm512_maskz_permutexvar_pd(0xff, (__m512i)index, numbers);
  }

  __m512d numbers;
};
#endif

// Logical vectors, the same on every target: as many native ones as it takes. A sum across lanes keeps their lanes as
// its partial sums and so does not depend on the target.
template <class T, int lane_count>
struct Logical {
  static constexpr int bytes = lane_count * static_cast<int>(sizeof(T));
  static constexpr int part_bytes = bytes < native_bytes ? bytes : native_bytes;
  static constexpr int lanes = part_bytes / static_cast<int>(sizeof(T));
  static constexpr int count = bytes / part_bytes;
  Vec<T, part_bytes> part[count];

  static Logical read(const T* from) {
    Logical v;
    for (int i = 0; i < count; ++i) v.part[i] = load<Vec<T, part_bytes>>(from + i * lanes);
    return v;
  }
  static Logical all(T value) {
    Logical v;
    for (auto& part : v.part) part = Vec<T, part_bytes>{} + value;
    return v;
  }
  void write(T* to) const {
    for (int i = 0; i < count; ++i) store(to + i * lanes, part[i]);
  }
  void add_product(const Logical& factor, const Logical& by) {
    for (int i = 0; i < count; ++i) part[i] += factor.part[i] * by.part[i];
  }
  // What is used twice is not read twice: the compiler would rather read memory again, which costs more than it thinks.
  void stay_in_registers() {
#if defined(__aarch64__)
    for (auto& p : part) asm("" : "+w"(p));
#elif defined(__AVX512F__)
    for (auto& p : part) asm("" : "+v"(p));
#else
    for (auto& p : part) asm("" : "+x"(p));
#endif
  }
  Logical& operator+=(const Logical& other) {
    for (int i = 0; i < count; ++i) part[i] += other.part[i];
    return *this;
  }
  Logical operator-(const Logical& other) const {
    Logical difference;
    for (int i = 0; i < count; ++i) difference.part[i] = part[i] - other.part[i];
    return difference;
  }
};

// Eight channels, and 64 bytes: of float two rows beside each other, of double the same.
template <class T>
using Row = Logical<T, 8>;
template <class T>
using Wide = Logical<T, 64 / static_cast<int>(sizeof(T))>;

inline Wide<double> widened(const Row<double>& row) {
  return row;
}
inline Row<double> folded(const Wide<double>& wide) {
  return wide;
}
// The row twice; and the sum of both rows. (Masked with all lanes, since GCC 12 warns of the plain functions' own
// code.)
inline Wide<float> widened(const Row<float>& row) {
  Wide<float> wide;
#if defined(__AVX512F__)
  wide.part[0] = (Vec<float>)_mm512_maskz_broadcast_f32x8(0xffff, (__m256)row.part[0]);
#else
  for (int i = 0; i < Wide<float>::count; ++i) wide.part[i] = row.part[i % Row<float>::count];
#endif
  return wide;
}
inline Row<float> folded(const Wide<float>& wide) {
  Row<float> row;
#if defined(__AVX512F__)
  const auto half = [&](auto which) { return _mm512_maskz_extractf32x8_ps(0xff, (__m512)wide.part[0], which); };
  row.part[0] = (Vec<float, 32>)half(std::integral_constant<int, 0>{}) + half(std::integral_constant<int, 1>{});
#else
  for (int i = 0; i < Row<float>::count; ++i) row.part[i] = wide.part[i] + wide.part[i + Row<float>::count];
#endif
  return row;
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
