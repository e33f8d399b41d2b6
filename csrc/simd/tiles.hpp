// Several registers at once: tiles of registers over consecutive channels, and logical vectors, which have the same
// number of lanes on every target.
#pragma once

#include "registers.hpp"

namespace cnnx {
namespace {

// A tile of `vectors` registers over consecutive channels. A partial tile is one register of which only the first
// `channels` lanes exist in memory.
template <class T, int tile_bytes, int vector_count, bool is_partial = false>
struct Tile {
  using V = Vec<T, tile_bytes>;
  static constexpr int bytes = tile_bytes;
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

// Calls body(tile, first channel, number of channels) for tiles that cover `total` channels: the widest tiles first,
// then narrower ones, then a partial one. Lanes hold different outputs, so the split never changes a sum. Tiles have up
// to 4, 2 or 1 registers. If `most_vectors` is 12 they have 12, 6, 3 or 1, which suits the three taps of a row.
template <class T, int most_vectors = most_tile_vectors, int least_total = 0, class Body>
void for_separate_channel_tiles(int total, Body&& body, bool reach_back = false) {
  int first = 0;
  // Goes on while as many channels are left as a tile has, or while a register that reaches back over channels already
  // done takes the place of several tiles after it.
  const auto sweep = [&](auto tile) {
    constexpr int channels = tile.lanes * tile.vectors;
    constexpr int of_next = tile.vectors > 1 ? channels : tile.bytes > 16 ? tile.lanes / 2 : 0;
    for (int left; (left = total - first) >= channels || (reach_back && left > of_next && total >= channels);) {
      if (left < channels) first = total - channels;
      body(tile, first, channels);
      first += channels;
    }
  };
  if constexpr (most_vectors == 12) {
    sweep(Tile<T, native_bytes, 12>{});
    sweep(Tile<T, native_bytes, 6>{});
    sweep(Tile<T, native_bytes, 3>{});
    if constexpr (native_bytes > 32) sweep(Tile<T, 32, 3>{});
  } else {
    if constexpr (most_vectors >= 4) sweep(Tile<T, native_bytes, 4>{});
    if constexpr (most_vectors >= 2) sweep(Tile<T, native_bytes, 2>{});
  }
  sweep(Tile<T, native_bytes, 1>{});
  if constexpr (native_bytes > 32) sweep(Tile<T, 32, 1>{});
  if constexpr (native_bytes > 16) sweep(Tile<T, 16, 1>{});
  if constexpr (least_total * static_cast<int>(sizeof(T)) < 16)
    if (first < total) body(Tile<T, 16, 1, true>{}, first, total - first);
}

// The same for a body that may compute a channel twice, because it sets its results and does not add to them. The last
// tile then reaches back over channels already done, which is faster than several narrow tiles and a partial one.
// `least_total` is the smallest `total` of all calls: if it fills a register, no code for partial tiles is compiled.
template <class T, int most_vectors = most_tile_vectors, int least_total = 0, class Body>
void for_channel_tiles(int total, Body&& body) {
  for_separate_channel_tiles<T, most_vectors, least_total>(total, body, true);
}

// The same for a body that reads whole registers from padded memory. If there are fewer channels than lanes in a
// register, it gets the narrowest register that holds them all, and writes as many lanes as there are channels. If that
// is the narrowest of all, the tile is partial.
template <class T, int most_vectors, int bytes = native_bytes, class Body>
void for_padded_channel_tiles(int total, Body&& body) {
  constexpr int lanes = bytes / static_cast<int>(sizeof(T));
  if (bytes == native_bytes && total >= lanes) return for_channel_tiles<T, most_vectors, lanes>(total, body);
  if constexpr (bytes > 16)
    if (total <= lanes / 2) return for_padded_channel_tiles<T, most_vectors, bytes / 2>(total, body);
  if constexpr (bytes == 16)
    if (total < lanes) return body(Tile<T, bytes, 1, true>{}, 0, total);
  body(Tile<T, bytes, 1>{}, 0, total);
}

// sums[i] += the sum of element i over `count` rows. Four rows at a time, because each addition to a sum waits for the
// one before it.
template <class T>
void add_rows(T* sums, const T* rows, std::ptrdiff_t count, int length) {
  for_separate_channel_tiles<T, 1>(length, [&](auto tile, int first, int channels) {
    const auto add = [&](auto sum, const auto& of_row) {
      std::ptrdiff_t k = 0;
      for (; k + 4 <= count; k += 4) sum += (of_row(k) + of_row(k + 1)) + (of_row(k + 2) + of_row(k + 3));
      for (; k < count; ++k) sum += of_row(k);
      return sum;
    };
    using V = typename decltype(tile)::V;
    if constexpr (tile.partial)  // as fast as reading partial registers, and less code
      for (int i = first; i < first + channels; ++i)
        sums[i] = add(sums[i], [&](std::ptrdiff_t k) { return rows[k * length + i]; });
    else
      store(sums + first, add(load<V>(sums + first), [&](auto k) { return load<V>(rows + k * length + first); }));
  });
}

// A vector that has `lane_count` lanes on every target, in as many registers as it takes. A sum across lanes uses these
// lanes as its partial sums, so it does not depend on the target.
template <class T, int lane_count>
struct Logical {
  static constexpr int bytes = lane_count * static_cast<int>(sizeof(T));
  static constexpr int divisor = bytes & -bytes;  // the largest register that fits whole
  static constexpr int part_bytes = divisor < native_bytes ? divisor : native_bytes;
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
    for (auto& part : v.part) part = cnnx::all<Vec<T, part_bytes>>(value);
    return v;
  }
  void write(T* to) const {
#pragma GCC unroll 24  // otherwise GCC makes a loop, and so writes the registers to the stack first
    for (int i = 0; i < count; ++i) store(to + i * lanes, part[i]);
  }
  void add_product(const Logical& factor, const Logical& by) {
    for (int i = 0; i < count; ++i) part[i] += factor.part[i] * by.part[i];
  }
  // For a vector that is used twice. GCC would read it from memory twice, which costs more than GCC estimates.
  void stay_in_registers() {
    for (auto& p : part) hide(p);
  }
  Logical& operator+=(const Logical& other) {
    for (int i = 0; i < count; ++i) part[i] += other.part[i];
    return *this;
  }
  Logical operator*(T factor) const {
    Logical product;
    for (int i = 0; i < count; ++i) product.part[i] = part[i] * factor;
    return product;
  }
  Logical operator-(const Logical& other) const {
    Logical difference;
    for (int i = 0; i < count; ++i) difference.part[i] = part[i] - other.part[i];
    return difference;
  }
};

// A Row is eight channels. A Wide is 64 bytes: two rows side by side for float, one row for double.
template <class T>
using Row = Logical<T, 8>;
template <class T>
using Wide = Logical<T, 64 / static_cast<int>(sizeof(T))>;

// widened() repeats a row until it fills a Wide; folded() adds the rows of a Wide.
inline Wide<double> widened(const Row<double>& row) {
  return row;
}
inline Row<double> folded(const Wide<double>& wide) {
  return wide;
}
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

}  // namespace
}  // namespace cnnx
