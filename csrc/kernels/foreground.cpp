// Kernels that read an image before any layer does: they find its foreground patches (conv_pool.hpp), scale its bytes,
// and check the size of its pixels.
#include "../simd/registers.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

// Bit i is set if a comparison of 16-byte vectors holds in lane i.
template <class Mask>
unsigned set_lanes(const Mask& mask) {
  constexpr int lanes = 16 / static_cast<int>(sizeof(mask[0]));
#if defined(__x86_64__)
  if constexpr (lanes == 16) return static_cast<unsigned>(_mm_movemask_epi8((__m128i)mask));
  if constexpr (lanes == 4) return static_cast<unsigned>(_mm_movemask_ps((__m128)mask));
  if constexpr (lanes == 2) return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask));
#elif defined(__wasm_simd128__)
  if constexpr (lanes == 16) return wasm_i8x16_bitmask((v128_t)mask);
  if constexpr (lanes == 4) return wasm_i32x4_bitmask((v128_t)mask);
  if constexpr (lanes == 2) return wasm_i64x2_bitmask((v128_t)mask);
#endif
  unsigned bits = 0;
  for (int i = 0; i < lanes; ++i) bits |= (mask[i] & 1U) << i;
  return bits;
}

// Bit i is set if number i differs from `value`. At most 64 numbers; a NaN differs from everything.
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

// Bits 0, 2, 4 and so on, moved next to each other.
inline std::uint32_t even_bits(std::uint64_t bits) {
#if defined(__AVX512F__)  // not on AVX2: AMD's first CPUs with it take hundreds of cycles for this instruction
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

// Writes first + i for each flag i that is set, in order, and returns how many are set. It always writes
// `flags_at_once` numbers; those after the last flag mean nothing.
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
  store(list, load<Vec<int, 16> >(flag_places.places[flags]) + first);
  return flag_places.count[flags];
}
#endif

// Rows are read in stripes of 64 pixels, which hold 31 patches, each 4 pixels wide and 2 after the one before. Narrow
// images, such as digits, have one stripe and at most 16 patches in a row.
inline constexpr int patches_a_stripe = 31, narrow_patches = 16;
static_assert(flags_at_once <= list_room);

template <bool narrow, class Pixel>
int find_foreground_in(int* __restrict patches, std::uint64_t* __restrict scratch, const Pixel* __restrict pixels,
                       Pixel background, const ConvPoolShape& s) noexcept {
  const int width = s.width, out_height = s.out_height(), out_width = s.out_width();
  const auto for_stripes = [&](auto&& body) {
    if constexpr (narrow)
      body(0, out_width);
    else
      for (int x = 0; x < out_width; x += patches_a_stripe) body(x, smaller(out_width - x, patches_a_stripe));
  };
  // Two rows at a time, because patches begin in every second row.
  std::uint64_t* __restrict stripe = scratch;
  for (int y = 0; y <= out_height; ++y)
    for_stripes([&](int x, int) {
      const Pixel* const upper = pixels + 2 * (Index{y} * width + x);
      const int count = smaller(width - 2 * x, 64);
      *stripe++ = differing(upper, count, background) | differing(upper + width, count, background);
    });

  // A patch is foreground if a pixel differs in one of its four columns and four rows. For a row of patches in which
  // only pixels of column 3 differ:
  //
  //   the column differs                      . . . x . . . . . .
  //   it or one of the next three differs     x x x x . . . . . .
  //   even columns, where patches begin       x   x   .   .
  int found = 0;
  const Index stripes = narrow ? 1 : (out_width + patches_a_stripe - 1) / patches_a_stripe;
  stripe = scratch;
  for (int y = 0; y < out_height; ++y)
    for_stripes([&](int x, int count) {
      std::uint64_t differs = stripe[0] | stripe[stripes];  // a bit for each column
      ++stripe;
      differs |= differs >> 1;
      differs |= differs >> 2;
      const std::uint32_t flags = even_bits(differs) & ((1U << count) - 1);
      for (int i = 0; i < (narrow ? narrow_patches : count); i += flags_at_once)
        found += list_flags(patches + found, flags >> i & ((1U << flags_at_once) - 1), y * out_width + x + i);
    });
  return found;
}

// Lists the foreground patches in reading order and returns their number. `patches` has `list_room` to spare; `scratch`
// has room for out_height + 1 numbers for each stripe. Pixel is uint8_t or T.
template <class Pixel>
int find_foreground(int* patches, std::uint64_t* scratch, const Pixel* pixels, Pixel background_pixel,
                    const ConvPoolShape& s) noexcept {
  return s.out_width() <= narrow_patches ? find_foreground_in<true>(patches, scratch, pixels, background_pixel, s)
                                         : find_foreground_in<false>(patches, scratch, pixels, background_pixel, s);
}

// Whether all values are finite and at most 2^20 in size. A convolution of such pixels with such filters gives no inf
// and no NaN.
template <class T>
bool are_small(const T* values, Index count) noexcept {
  using V = Vec<T>;
  constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
  constexpr T limit = 1 << 20;
  auto small = V{} == V{};
  const auto look = [&](const V& v) { small &= (v <= limit) & (v >= -limit); };
  Index i = 0;
  for (; i + lanes <= count; i += lanes) look(load<V>(values + i));
  if (i < count) look(load_first<V>(values + i, static_cast<int>(count - i)));
  for (int lane = 1; lane < lanes; ++lane) small[0] &= small[lane];
  return small[0] != 0;
}

template <class T>
ValueRange<T> range_of(const T* values, Index count) noexcept {
  using V = Vec<T>;
  constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
  constexpr int registers = native_bytes / 16;  // a comparison waits for the one before it in the same register
  constexpr Index ahead = 4096 / sizeof(T);     // farther than the hardware fetches
  V least[registers], most[registers], none[registers] = {};
  for (int k = 0; k < registers; ++k) least[k] = -(most[k] = all<V>(values[0]));
  const auto look = [&](int k, const V& v) {
    least[k] = larger(least[k], -v);  // the largest of the negated numbers
    most[k] = larger(most[k], v);
    none[k] += v - v;  // 0, or NaN if a number is not finite
  };
  Index i = 0;
  for (; i + registers * lanes <= count; i += registers * lanes)
    for (int k = 0; k < registers; ++k) {
      __builtin_prefetch(values + i + k * lanes + ahead);
      look(k, load<V>(values + i + k * lanes));
    }
  for (; i < count; ++i) look(0, all<V>(values[i]));
  ValueRange<T> range{values[0], values[0], true};
  for (int k = 0; k < registers; ++k)
    for (int lane = 0; lane < lanes; ++lane) {
      range.least = -larger(-range.least, least[k][lane]);
      range.most = larger(range.most, most[k][lane]);
      range.is_finite &= none[k][lane] == 0;
    }
  return range;
}

// x / 255 - 0.5 for pixels x from 0 to 255, with the bits of numpy's float64 result rounded to T. For float it computes
// (x - 127.5) / 255: the same number, but only the division rounds, and no quotient is half-way between two floats.
// With a fused multiply-add, multiplying by 1 / 255 in two parts gives the division's own bits, several times as fast.
template <class T, class V>
V scaled(const V& pixel) {
  constexpr bool is_float = sizeof(T) == sizeof(float);
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  // 1 / 255 = 2^-8 + 2^-16 + 2^-24 + ..., so what remains after the first 56 bits is 1 / 255 * 2^-56.
  constexpr T reciprocal = T{1} / T{255};
  constexpr T rest = is_float ? static_cast<T>(1.0 / 255.0 - double{reciprocal}) : reciprocal * T{0x1p-56};
  if constexpr (is_float) {
    const V centred = pixel - T{127.5};
    return fused(centred, V{} + reciprocal, centred * rest);
  } else {
    return fused(pixel, V{} + reciprocal, pixel * rest) - T{0.5};
  }
#else
  if constexpr (is_float) return (pixel - T{127.5}) / T{255};
  return pixel / T{255} - T{0.5};
#endif
}

template <class T>
void scale_pixels(T* __restrict image, const std::uint8_t* __restrict pixels, Index count) noexcept {
  Index i = 0;
  if constexpr (can_load_bytes) {
    constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
    for (; i + lanes <= count; i += lanes) store(image + i, scaled<T>(load_bytes<T>(pixels + i)));
  }
  for (; i < count; ++i) image[i] = scaled<T>(static_cast<T>(pixels[i]));
}

template <class T>
void enter(Kernels<T>& k) {
  k.scale_pixels = scale_pixels<T>;
  k.find_foreground_in_bytes = find_foreground<std::uint8_t>;
  k.find_foreground = find_foreground<T>;
  k.are_small = are_small<T>;
  k.range_of = range_of<T>;
}

}  // namespace

void CNNX_TARGET::fill_foreground(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
