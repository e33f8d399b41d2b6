// The one file that knows compiler vector types. It is compiled once per CPU target with that target's flags,
// so everything in it has internal linkage: no copy can be shared between targets by the linker.
#pragma once

#include <cstdint>
#include <type_traits>
#if defined(__x86_64__)
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

// A register's worth of numbers, each from a byte, on targets that have an instruction for it. (Masked with all lanes,
// here and below, since GCC 12 warns of the plain functions' own code.)
inline constexpr bool can_load_bytes = native_bytes >= 32;
#if defined(__AVX2__)
template <class T>
Vec<T> load_bytes(const std::uint8_t* from) {
  constexpr bool is_float = sizeof(T) == sizeof(float);
#if defined(__AVX512F__)
  if constexpr (is_float) {
    const __m512i whole = _mm512_maskz_cvtepu8_epi32(0xffff, (__m128i)load<Vec<char, 16>>(from));
    return (Vec<T>)_mm512_maskz_cvtepi32_ps(0xffff, whole);
  } else {
    return (Vec<T>)_mm512_maskz_cvtepi32_pd(0xff, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from)));
  }
#else
  if constexpr (is_float)
    return (Vec<T>)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)from)));
  else
    return (Vec<T>)_mm256_cvtepi32_pd(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(load<int>(from))));
#endif
}
#endif

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

// Bit i for lane i of a comparison of 16 bytes where it holds.
template <class Mask>
unsigned set_lanes(const Mask& mask) {
  constexpr int lanes = 16 / static_cast<int>(sizeof(mask[0]));
#if defined(__x86_64__)
  if constexpr (lanes == 16) return static_cast<unsigned>(_mm_movemask_epi8((__m128i)mask));
  if constexpr (lanes == 4) return static_cast<unsigned>(_mm_movemask_ps((__m128)mask));
  if constexpr (lanes == 2) return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask));
#endif
  unsigned bits = 0;
  for (int i = 0; i < lanes; ++i) bits |= (mask[i] & 1U) << i;
  return bits;
}

// Bit i for number i of at most 64 that does not equal `value`; a NaN does not.
template <class T>
std::uint64_t differing(const T* numbers, int count, T value) {
  using V = Vec<T, 16>;
  constexpr int lanes = 16 / static_cast<int>(sizeof(T));
  const auto look = [&](const V& v) { return std::uint64_t{set_lanes(v != value)}; };
  if (count < lanes) return look(load_first<V>(numbers, count)) & ((1U << count) - 1);
  std::uint64_t bits = look(load<V>(numbers + count - lanes)) << (count - lanes);
  for (int i = 0; i < count - lanes; i += lanes) bits |= look(load<V>(numbers + i)) << i;
  return bits;
}
#if defined(__AVX512F__)
inline std::uint64_t differing(const std::uint8_t* numbers, int count, std::uint8_t value) {
  const __mmask64 there = _bzhi_u64(~std::uint64_t{0}, static_cast<unsigned>(count));
  return _mm512_mask_cmpneq_epu8_mask(there, _mm512_maskz_loadu_epi8(there, numbers),
                                      _mm512_set1_epi8(static_cast<char>(value)));
}
#endif

// Bits 0, 2, 4 and so on, side by side.
inline std::uint32_t even_bits(std::uint64_t bits) {
#if defined(__AVX512F__)  // AMD's first CPUs with AVX2 take hundreds of cycles for it
  return static_cast<std::uint32_t>(_pext_u64(bits, 0x5555555555555555U));
#else
  bits &= 0x5555555555555555U;
  bits = (bits | bits >> 1) & 0x3333333333333333U;
  bits = (bits | bits >> 2) & 0x0f0f0f0f0f0f0f0fU;
  bits = (bits | bits >> 4) & 0x00ff00ff00ff00ffU;
  bits = (bits | bits >> 8) & 0x0000ffff0000ffffU;
  return static_cast<std::uint32_t>(bits | bits >> 16);
#endif
}

// Writes first + i for each flag i that is set, in order, and whatever behind them, `flags_at_once` numbers in all;
// returns how many there are.
#if defined(__AVX512F__)
inline constexpr int flags_at_once = 16;
inline int list_flags(int* list, unsigned flags, int first) {
  const Vec<int> places = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  store(list, (Vec<int>)_mm512_maskz_compress_epi32(static_cast<__mmask16>(flags), (__m512i)(places + first)));
  return __builtin_popcount(flags);
}
#else
struct FlagPlaces {
  int places[16][4] = {};
  int count[16] = {};

  constexpr FlagPlaces() {
    for (int flags = 0; flags < 16; ++flags)
      for (int i = 0; i < 4; ++i)
        if (flags >> i & 1) places[flags][count[flags]++] = i;
  }
};
inline constexpr FlagPlaces flag_places;

inline constexpr int flags_at_once = 4;
inline int list_flags(int* list, unsigned flags, int first) {
  store(list, load<Vec<int, 16>>(flag_places.places[flags]) + first);
  return flag_places.count[flags];
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
#if defined(__AVX512F__)
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

// Makes the compiler forget where a vector in a register comes from.
template <class V>
void hide(V& v) {
#if defined(__aarch64__)
  asm("" : "+w"(v));
#elif defined(__AVX512F__)
  asm("" : "+v"(v));
#else
  asm("" : "+x"(v));
#endif
}

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
    for (auto& p : part) hide(p);
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
// The row twice; and the sum of both rows.
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

// The same of vectors, which the compiler fuses by itself, but might fuse c's product instead if it could see one.
template <class V>
V fused(const V& a, const V& b, V c) {
  hide(c);
  return a * b + c;
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
