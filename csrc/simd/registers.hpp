// Compiler vector types: one register and its operations. Each CPU target compiles this file with its own flags, so
// everything here has internal linkage: the linker must not share a copy between targets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__x86_64__)
#include <emmintrin.h>  // compiles in a twentieth of the other one's time
#elif defined(__wasm_simd128__)
#include <wasm_simd128.h>
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

// The same number in all lanes. x - 0 is x for every x, even -0, so the compiler leaves the subtraction out.
template <class V, class T>
V all(T value) {
  return value - V{};
}

// Reads a byte for each lane and converts it to a number, on targets that have an instruction for it.
// Here and below, intrinsics are the masked variants with all lanes set: GCC 12 warns about the code of the plain ones.
#if defined(__wasm_simd128__)
inline constexpr bool can_load_bytes = true;
template <class T>
Vec<T> load_bytes(const std::uint8_t* from) {
  using Bytes = Vec<std::uint8_t, native_bytes / static_cast<int>(sizeof(T))>;
  return __builtin_convertvector(load<Bytes>(from), Vec<T>);
}
#else
inline constexpr bool can_load_bytes = native_bytes >= 32;
#endif
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

// The vector that two halves make, and a half of a vector, from lane `first` on.
template <class V, class Half>
V joined(const Half& low, const Half& high) {
  return [&]<int... lane>(std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(low, high, lane...);
  }(std::make_integer_sequence<int, sizeof(V) / sizeof(low[0])>());
}
template <int first, class V>
auto half_of(const V& v) {
  return [&]<int... lane>(std::integer_sequence<int, lane...>) {
    return __builtin_shufflevector(v, v, (first + lane)...);
  }(std::make_integer_sequence<int, sizeof(V) / sizeof(v[0]) / 2>());
}

// Reads or writes only the first `count` lanes, at least one and not all. The other lanes of a loaded vector are 0.
// Half by half, because GCC makes a slow call of memcpy of a loop.
template <class V, class T>
V load_first(const T* from, int count) {
  constexpr int lanes = sizeof(V) / sizeof(T), half = lanes / 2;
  if constexpr (lanes == 2) {
    return V{from[0]};
  } else {
    using Half = Vec<T, sizeof(V) / 2>;
    const Half low = count < half ? load_first<Half>(from, count) : load<Half>(from);
    return joined<V>(low, count > half ? load_first<Half>(from + half, count - half) : Half{});
  }
}

template <class V, class T>
void store_first(T* to, const V& v, int count) {
  constexpr int lanes = sizeof(V) / sizeof(T), half = lanes / 2;
  if constexpr (lanes == 2) {
    to[0] = v[0];
  } else {
    const auto low = half_of<0>(v);
    if (count < half) return store_first(to, low, count);
    store(to, low);
    if (count > half) store_first(to + half, half_of<half>(v), count - half);
  }
}

// a == b and a < b, lane by lane: -1 where it holds, else 0.
template <class V>
auto equal(const V& a, const V& b) {
  return a == b;
}
template <class V>
auto less(const V& a, const V& b) {
  return a < b;
}
#if defined(__AVX512F__)
// By itself, the compiler compares into a mask register, which occupies a multiplier for a cycle on Zen 4. Comparing
// into a vector does not.
inline auto equal(const Vec<float, 32>& a, const Vec<float, 32>& b) {
  return (decltype(a == b))_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_EQ_OQ);
}
inline auto less(const Vec<float, 32>& a, const Vec<float, 32>& b) {
  return (decltype(a == b))_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_LT_OQ);
}
#endif

// b > a ? b : a, lane by lane.
template <class V>
V larger(const V& a, const V& b) {
  return b > a ? b : a;
}
#if defined(__AVX2__)
// One instruction, which the compiler does not find by itself.
inline Vec<float, 32> larger(const Vec<float, 32>& a, const Vec<float, 32>& b) {
  return (Vec<float, 32>)_mm256_max_ps((__m256)b, (__m256)a);
}
inline Vec<double, 32> larger(const Vec<double, 32>& a, const Vec<double, 32>& b) {
  return (Vec<double, 32>)_mm256_max_pd((__m256d)b, (__m256d)a);
}
#endif

// Bit i is set if lane i of a whole register is not 0 (a NaN is not 0). Only on targets with an instruction for it.
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

// A table of eight numbers, low[0] to low[3] and then high[0] to high[3]. lookup[index] gives each lane the number at
// its index. Only on targets with an instruction for it.
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

// Whether a lane is negative, for vectors like a Lookup's indices.
#if defined(__AVX2__)
inline bool any_negative(const Vec<int, 32>& v) {
  return _mm256_movemask_ps((__m256)v) != 0;
}
#endif
#if defined(__AVX512F__)
inline bool any_negative(const Vec<int, 64>& v) {
  return _mm512_movepi32_mask((__m512i)v) != 0;
}
inline bool any_negative(const Vec<std::int64_t, 64>& v) {
  return _mm512_movepi64_mask((__m512i)v) != 0;
}
#endif

// Makes the compiler forget how a vector was computed, so that it cannot read it again from memory or fuse its product.
template <class V>
void hide([[maybe_unused]] V& v) {
#if defined(__aarch64__)
  asm("" : "+w"(v));
#elif defined(__AVX512F__)
  asm("" : "+v"(v));
#elif !defined(__wasm__)  // which has neither registers nor fused operations
  asm("" : "+x"(v));
#endif
}

// Says that a vector is still needed here, so that no sum takes its register. Otherwise GCC runs out of registers if
// all are in use. Narrow vectors stay in the first 16 registers, whose instructions are shorter.
template <class V>
void keep([[maybe_unused]] const V& v) {
#if defined(__aarch64__)
  asm volatile("" : : "w"(v));
#elif defined(__AVX512F__)
  if constexpr (sizeof(V) == 64)
    asm volatile("" : : "v"(v));
  else
    asm volatile("" : : "x"(v));
#elif !defined(__wasm__)
  asm volatile("" : : "x"(v));
#endif
}

// Makes the compiler forget how a pointer was computed, so that it keeps the pointer in a register.
template <class T>
void hide_pointer(const T*& pointer) {
  asm("" : "+r"(pointer));
}

// Keeps a vector in memory and so leaves its register to others, which need it more.
template <class V>
void stay_in_memory(V& v) {
  asm("" : "+m"(v));
}

// Whether the target has a fused multiply-add. All targets that have one compute the same bits, and so do all others.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
inline constexpr bool has_fused = true;
#else
inline constexpr bool has_fused = false;
#endif

// a * b + c, rounded once where the target has a fused multiply-add. Loops over scalars call this function, because the
// compiler might vectorise their products and sums separately on one target and together on another, and the results
// would differ.
inline float fused(float a, float b, float c) {
  return has_fused ? __builtin_fmaf(a, b, c) : a * b + c;
}
inline double fused(double a, double b, double c) {
  return has_fused ? __builtin_fma(a, b, c) : a * b + c;
}

// The same for vectors. The compiler fuses a * b + c by itself, but if c is a product, it might fuse that one instead.
template <class V>
V fused(const V& a, const V& b, V c) {
  hide(c);
  return a * b + c;
}

inline int smaller(int a, int b) {
  return a < b ? a : b;
}

}  // namespace
}  // namespace cnnx
