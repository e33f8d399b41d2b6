// What the forward and the backward pass by Winograd's algorithm share: the transformation of pixels, and the products
// with filters.
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"

namespace cnnx {
namespace {

template <class T>
inline constexpr int lanes = native_bytes / static_cast<int>(sizeof(T));
// The filters of a block, which fill the widest register of any target.
template <class T>
inline constexpr int block = lanes_of<T>;

// How far the elements of a block's transformed filters are apart: a row more than there are channels. Otherwise the
// elements would often be a power of two apart, and so fall into the same few places of the cache.
template <class T>
Index filters_element(int channels) {
  return Index{channels + 1} * block<T>;
}

// Calls body(at) for the tile of 2x2 outputs whose first is (top, left). at(y, x) points to pixel (y, x) of the 4x4
// pixels d below it. Those outside of the image in memory are zeros.
template <class T, class Body>
void with_pixels(const T* input, const T* zeros, int top, int left, const Conv3x3Shape& s, Body&& body) {
  top -= s.padding;
  left -= s.padding;
  const int height = s.image_height(), width = s.image_width();
  const Index row = Index{width} * s.channels, channels = s.channels;
  const auto at = [=, first = top * row + left * channels](int y, int x) {
    return input + (first + y * row + x * channels);
  };
  if (top >= 0 && left >= 0 && top + 4 <= height && left + 4 <= width) return body(at);
  const T* pixel[4][4];
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x) {
      const bool inside = top + y >= 0 && top + y < height && left + x >= 0 && left + x < width;
      pixel[y][x] = inside ? at(y, x) : zeros;
    }
  body([&](int y, int x) { return pixel[y][x]; });
}

// Calls put(i, element i of B^T d B) for a register of channels of the pixels, which read(y, x) reads.
template <class Read, class Put>
void transform_tile(const Read& read, const Put& put) {
  const auto transform = [&](int i, const auto& d0, const auto& d1, const auto& d2, const auto& d3) {
    put(i, d0 - d2);
    put(i + 1, d1 + d2);
    put(i + 2, d2 - d1);
    put(i + 3, d1 - d3);
  };
  const auto minus = [&](int a, int b, int x) { return read(a, x) - read(b, x); };
  const auto plus = [&](int x) { return read(1, x) + read(2, x); };
  transform(0, minus(0, 2, 0), minus(0, 2, 1), minus(0, 2, 2), minus(0, 2, 3));
  transform(4, plus(0), plus(1), plus(2), plus(3));
  transform(8, minus(2, 1, 0), minus(2, 1, 1), minus(2, 1, 2), minus(2, 1, 3));
  transform(12, minus(1, 3, 0), minus(1, 3, 1), minus(1, 3, 2), minus(1, 3, 3));
}

// product[r * to_row + v] = sum over c of  rows[r * row + c] * filters[c * block + v], for `groups` times `count` rows
// and a few registers of v. If a block is one register, the next one is `apart`.
template <class T, int count, int vectors>
__attribute__((noinline)) void multiply_rows(T* product, Index to_row, const T* rows, Index row, const T* filters,
                                             Index apart, int channels, int groups) {
  using V = Vec<T>;
  const Index row3 = 3 * row, row5 = 5 * row;  // one pointer and three distances reach six rows
  do {
    V sum[count][vectors];
    // Here and below, GCC would otherwise make loops, and so keep the sums in memory.
#pragma GCC unroll 6
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sum[r][v] = V{};
    const T *pixel_at = rows, *filter_at = filters;
    int left = channels;
    do {
      V filter[vectors];
      for (int v = 0; v < vectors; ++v) filter[v] = load<V>(filter_at + v * (lanes<T> == block<T> ? apart : lanes<T>));
      for (int r = 0; r < count; ++r) {
        const V pixel = all<V>(pixel_at[r == 3 ? row3 : r == 5 ? row5 : r * row]);
        for (int v = 0; v < vectors; ++v) sum[r][v] += pixel * filter[v];
      }
      ++pixel_at;
      filter_at += block<T>;
      hide_pointer(pixel_at);
    } while (--left > 0);
#pragma GCC unroll 6
    for (int r = 0; r < count; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) store(product + r * to_row + v * lanes<T>, sum[r][v]);
    product += count * to_row;
    rows += count * row;
  } while (--groups > 0);
}

// Calls body(first, number of registers as a constant) for pairs of registers that cover `padded` numbers. Only a
// register of the widest kind can be left alone.
template <class T, class Body>
void for_pairs(Index padded, Body&& body) {
  Index first = 0;
  for (; first + 2 * lanes<T> <= padded; first += 2 * lanes<T>) body(first, std::integral_constant<int, 2>{});
  if constexpr (lanes<T> == lanes_of<T>)
    if (first < padded) body(first, std::integral_constant<int, 1>{});
}

// product[tiles][to_row] = rows[tiles][padded channels] * transformed filters[channels][filters], of which `width` are
// computed. `filters` are those of one element. At least four tiles are computed, even if there are fewer.
template <class T>
void multiply(T* product, Index to_row, const T* rows, const T* filters, int tiles, int channels, int width) {
  const Index row = padded_channels<T>(channels), next_block = 16 * filters_element<T>(channels);
  for_pairs<T>(width, [&](Index part, auto vectors) {
    const T* const of_part = filters + part / block<T> * next_block + part % block<T>;
    int done = 0;
    // Computes `number` groups of `count` tiles, and returns their number.
    const auto compute = [&](auto count, int number) {
      const int first = done > 0 ? smaller(done, tiles - count) : 0;  // the last group may reach back
      multiply_rows<T, count, vectors>(product + first * to_row + part, to_row, rows + first * row, row, of_part,
                                       next_block, channels, number);
      done = first + number * count;
      return number;
    };
    int groups = (tiles + 5) / 6;
    while (groups > 0) {
      const int left = tiles - done;
      if (left > 5 * groups)
        groups -= compute(std::integral_constant<int, 6>{}, left - 5 * groups);
      else if (left > 4 * groups)
        groups -= compute(std::integral_constant<int, 5>{}, left - 4 * groups);
      else
        groups -= compute(std::integral_constant<int, 4>{}, 1);
    }
  });
}

}  // namespace
}  // namespace cnnx
