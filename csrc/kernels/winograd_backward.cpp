// The backward pass of a Conv3x3 with many channels, by Winograd's algorithm F(2x2, 3x3) turned around. For a tile of
// 2x2 outputs, the 4x4 pixels d below it, and a filter g,
//
//   d_filter = G^T [ sum over tiles of    (A d_output A^T) * (B^T d B) ] G
//   d_pixels = B   [ sum over filters of  (A d_output A^T) * (G g G^T) ] B^T           *: element by element
//
//        1   0                1  0 -1  0           1    0    0
//   A =  1   1        B^T  =  0  1  1  0     G =  1/2  1/2  1/2     (A. Lavin and S. Gray, "Fast Algorithms for
//        1  -1                0 -1  1  0          1/2 -1/2  1/2      Convolutional Neural Networks", 2015)
//        0  -1                0  1  0 -1           0    0    1
//
// take 16 multiplications for each channel and filter, where conv3x3.cpp takes 36. The first sum in brackets, 16
// matrices (channels, padded filters), grows over all samples of a shard. Only then it becomes the gradient of the
// filters. The gradient of the biases is in a row after it. A pixel's gradient is the sum over the tiles that it is in.
// The transformed filters G g G^T are those of winograd_forward.cpp, which are made for filters rotated by 180 degrees:
// the first and the last of four rows have swapped their places, and so have the first and the last column.
#include "target.hpp"
#include "winograd.hpp"

namespace cnnx {
namespace {

// Calls body(number of the tile, its first row, its first column) for all tiles of 2x2 outputs, in reading order.
template <class Body>
void for_tiles(const Conv3x3Shape& s, Body&& body) {
  int tile = 0;
  for (int y = 0; y < s.out_height(); y += 2)
    for (int x = 0; x < s.out_width(); x += 2) body(tile++, y, x);
}

// to[16][tiles][channels] = B^T d B, for the tiles of a band that begins at row `first` of the outputs.
template <class T>
void transform_pixels(T* __restrict to, const T* input, const T* zeros, int first, const Conv3x3Shape& band,
                      const Conv3x3Shape& s) {
  const Index channels = s.channels, element = band.tiles() * channels;
  for_tiles(band, [&](int tile, int top, int left) {
    T* const of_tile = to + tile * channels;
    with_pixels(input, zeros, first + top, left, s, [&](const auto& at) {
      for_channel_tiles<T, 1, least_winograd>(s.channels, [&](auto part, int c, int count) {
        using V = typename decltype(part)::V;
        transform_tile([&](int y, int x) { return part.read(at(y, x) + c, count); },
                       [&](int i, const V& v) { part.write(of_tile + i * element + c, v, count); });
      });
    });
  });
}

// to[16][tiles][padded filters] = A d_output A^T. Beyond the outputs' end there are zeros.
template <class T>
void transform_gradient(T* __restrict to, const T* d_output, const T* zeros, const Conv3x3Shape& s) {
  const Index padded = padded_channels<T>(s.filters), element = s.tiles() * padded;
  for_tiles(s, [&](int tile, int top, int left) {
    const T* output[2][2];
    for (int y = 0; y < 2; ++y)
      for (int x = 0; x < 2; ++x) {
        const bool inside = top + y < s.out_height() && left + x < s.out_width();
        output[y][x] = inside ? d_output + (Index{top + y} * s.out_width() + left + x) * s.filters : zeros;
      }
    T* const of_tile = to + tile * padded;
    for_channel_tiles<T, 1, least_winograd>(s.filters, [&](auto part, int first, int count) {
      using V = typename decltype(part)::V;
      V row[4][2];
      for (int x = 0; x < 2; ++x) {
        const V above = part.read(output[0][x] + first, count), below = part.read(output[1][x] + first, count);
        row[0][x] = above;
        row[1][x] = above + below;
        row[2][x] = above - below;
        row[3][x] = -below;
      }
      for (int y = 0; y < 4; ++y) {
        const auto put = [&](int x, const V& v) { part.write(of_tile + (4 * y + x) * element + first, v, count); };
        put(0, row[y][0]);
        put(1, row[y][0] + row[y][1]);
        put(2, row[y][0] - row[y][1]);
        put(3, -row[y][1]);
      }
    });
  });
}

// sum[c][v] += sum over tiles of  pixels[tile][c] * gradient[tile][v], for `count` channels and a few registers of v.
template <int count, int vectors, class T>
__attribute__((noinline)) void add_products(T* sums, const T* pixels, const T* gradient, int tiles, Index channels,
                                            Index padded) {
  using V = Vec<T>;
  V sum[count][vectors];
#pragma GCC unroll 6
  for (int c = 0; c < count; ++c)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) sum[c][v] = load<V>(sums + c * padded + v * lanes<T>);
  do {
    V d[vectors];
    for (int v = 0; v < vectors; ++v) d[v] = load<V>(gradient + v * lanes<T>);
    for (int c = 0; c < count; ++c) {
      const V pixel = all<V>(pixels[c]);
      for (int v = 0; v < vectors; ++v) sum[c][v] += pixel * d[v];
    }
    pixels += channels;
    gradient += padded;
  } while (--tiles > 0);
#pragma GCC unroll 6
  for (int c = 0; c < count; ++c)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) store(sums + c * padded + v * lanes<T>, sum[c][v]);
}

// Calls body(first, count as a constant) for groups of at most six that cover `total`.
template <class Body>
void for_sixes(int total, Body&& body) {
  int first = 0;
  for (int groups = (total + 5) / 6; groups > 0; --groups) {
    const int count = (total - first + groups - 1) / groups;
    const auto call = [&](auto constant) { body(first, constant); };
    switch (count) {
      case 6:
        call(std::integral_constant<int, 6>{});
        break;
      case 5:
        call(std::integral_constant<int, 5>{});
        break;
      case 4:
        call(std::integral_constant<int, 4>{});
        break;
      default:
        for (int i = 0; i < count; ++i) body(first + i, std::integral_constant<int, 1>{});
    }
    first += count;
  }
}

// sums[16][channels][padded filters] += the sums over tiles.
template <class T>
void add_to_sums(T* sums, const T* pixels, const T* gradient, const Conv3x3Shape& s) {
  const Index padded = padded_channels<T>(s.filters), channels = s.channels;
  const int tiles = static_cast<int>(s.tiles());
  for (int element = 0; element < 16; ++element) {
    const T* const of_pixels = pixels + element * tiles * channels;
    const T* const of_gradient = gradient + element * tiles * padded;
    T* const of_sums = sums + element * channels * padded;
    for_pairs<T>(padded, [&](Index f, auto vectors) {
      for_sixes(s.channels, [&](int c, auto count) {
        add_products<count, vectors>(of_sums + c * padded + f, of_pixels + c, of_gradient + f, tiles, channels, padded);
      });
    });
  }
}

// products[16][tiles][padded channels] = the sums over filters.
template <class T>
void multiply_by_filters(T* products, const T* gradient, const T* flipped, const Conv3x3Shape& s) {
  const int channels = padded_channels<T>(s.channels), tiles = static_cast<int>(s.tiles());
  const Index product = Index{tiles} * channels, of_element = Index{tiles} * padded_channels<T>(s.filters);
  const auto rotated = [](int i) { return i % 3 == 0 ? 3 - i : i; };
  for (int y = 0; y < 4; ++y)
    for (int x = 0; x < 4; ++x, products += product, gradient += of_element) {
      const int element = 4 * rotated(y) + rotated(x);
      multiply(products, channels, gradient, flipped + element * filters_element<T>(s.filters), tiles, s.filters,
               channels);
    }
}

// Adds B product B^T of the tiles of a band that begins at row `first` of the outputs to d_input.
template <class T>
void add_patches(T* d_input, const T* products, int first, const Conv3x3Shape& band, const Conv3x3Shape& s) {
  const Index channels = s.channels, padded = padded_channels<T>(s.channels), element = band.tiles() * padded;
  const int height = s.image_height(), width = s.image_width();
  const Index row = width * channels;
  for_tiles(band, [&](int tile, int y_out, int x_out) {
    const int top = first + y_out - s.padding, left = x_out - s.padding;
    const Index patch = top * row + left * channels;
    const auto add = [&](auto has) {
      for_separate_channel_tiles<T, 1>(s.channels, [&](auto part, int c, int count) {
        using V = typename decltype(part)::V;
        const auto transform = [](V(&m)[4]) {
          const V second = m[1] - m[2] + m[3], third = m[1] + m[2] - m[0];
          m[1] = second;
          m[2] = third;
          m[3] = -m[3];
        };
        V line[4][4];
        for (int x = 0; x < 4; ++x) {
          V column[4];
          for (int y = 0; y < 4; ++y) column[y] = load<V>(products + (4 * y + x) * element + tile * padded + c);
          transform(column);
          for (int y = 0; y < 4; ++y) line[y][x] = column[y];
        }
#pragma GCC unroll 4
        for (int y = 0; y < 4; ++y) {
          if (!has(top + y, height)) continue;
          transform(line[y]);
#pragma GCC unroll 4
          for (int x = 0; x < 4; ++x) {
            if (!has(left + x, width)) continue;
            T* const pixel = d_input + (patch + y * row + x * channels + c);
            part.write(pixel, part.read(pixel, count) + line[y][x], count);
          }
        }
      });
    };
    if (top >= 0 && left >= 0 && top + 4 <= height && left + 4 <= width)
      add([](int, int) { return true; });
    else
      add([](int at, int size) { return at >= 0 && at < size; });
  });
}

// Adds to sums[16][channels][padded filters], and to the row of biases after them. Sets d_input unless it is null.
// `scratch` has room for winograd_scratch() numbers, the last of which stay 0.
template <class T>
void winograd_backward(T* d_input, T* sums, const T* d_output, const T* input, const T* flipped, T* scratch,
                       const Conv3x3Shape& s) noexcept {
  const Index padded = padded_channels<T>(s.filters), channels = s.channels;
  const Index most = winograd_most_tiles(s);
  T *const pixels = scratch, *const gradient = pixels + 16 * most * padded_channels<T>(s.channels);
  const T* const zeros = gradient + 16 * most * padded;
  if (d_input != nullptr) __builtin_memset(d_input, 0, sizeof(T) * static_cast<std::size_t>(s.image_size()));
  for (int y = 0; y < s.out_height();) {
    const Conv3x3Shape band = winograd_band(s, y);
    transform_pixels(pixels, input, zeros, y, band, s);
    transform_gradient(gradient, d_output + Index{y} * s.out_width() * s.filters, zeros, band);
    add_to_sums(sums, pixels, gradient, band);
    if (d_input != nullptr) {
      T* const products = pixels;  // which are not needed any more
      multiply_by_filters(products, gradient, flipped, band);
      add_patches(d_input, products, y, band, s);
    }
    y += band.out_height();
  }
  if (!s.bias) return;
  T* const d_biases = sums + 16 * channels * padded;
  add_rows(d_biases, d_output, Index{s.out_height()} * s.out_width(), s.filters);
}

// Makes the sums the gradient of packed filters, in place: G^T sums G. What is left of the sums becomes 0.
template <class T>
void winograd_finish_filters(T* sums, const Conv3x3Shape& s) noexcept {
  using V = Vec<T>;
  const Index padded = padded_channels<T>(s.filters), element = s.channels * padded;
  const auto transform = [](V(&m)[4]) {  // four numbers to the first three
    const V plus = (m[1] + m[2]) * T(0.5), minus = (m[1] - m[2]) * T(0.5);
    m[0] += plus;
    m[1] = minus;
    m[2] = plus + m[3];
  };
  for (Index at = 0; at < element; at += lanes<T>) {
    V row[3][4];
    for (int x = 0; x < 4; ++x) {
      V column[4];
      for (int y = 0; y < 4; ++y) column[y] = load<V>(sums + (4 * y + x) * element + at);
      transform(column);
      for (int y = 0; y < 3; ++y) row[y][x] = column[y];
    }
    for (int y = 0; y < 3; ++y) {
      transform(row[y]);
      for (int x = 0; x < 3; ++x) store(sums + (3 * y + x) * element + at, row[y][x]);
    }
  }
  T* const d_biases = sums + 9 * element;
  const std::size_t row = sizeof(T) * static_cast<std::size_t>(padded);
  __builtin_memcpy(d_biases, sums + 16 * element, row);
  __builtin_memset(d_biases + padded, 0, sizeof(T) * static_cast<std::size_t>(7 * element));
}

template <class T>
void enter(Kernels<T>& k) {
  k.winograd_backward = winograd_backward<T>;
  k.winograd_finish_filters = winograd_finish_filters<T>;
}

}  // namespace

void CNNX_TARGET::fill_winograd_backward(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  enter(float64);
}

}  // namespace cnnx
