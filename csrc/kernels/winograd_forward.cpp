// Conv3x3 with many channels, by Winograd's algorithm F(2x2, 3x3): a tile of 2x2 outputs takes 16 multiplications for
// each channel and filter, where conv3x3.cpp takes 36.
//
//   outputs = A^T [ sum over channels of  (G g G^T) * (B^T d B) ] A       g: a filter (3, 3), d: the 4x4 pixels below
//                                                                         the tile, *: element by element
//          1  0 -1  0            1    0    0
//   B^T =  0  1  1  0      G =  1/2  1/2  1/2      A^T = 1  1  1  0       (A. Lavin and S. Gray, "Fast Algorithms for
//          0 -1  1  0           1/2 -1/2  1/2            0  1 -1 -1        Convolutional Neural Networks", 2015)
//          0  1  0 -1            0    0    1
//
// For each of the 16 elements, the sums over channels are a product of matrices: (tiles, channels) of transformed
// pixels times (channels, filters) of transformed filters. Transformed filters are made once for all images; their
// layout is (blocks of filters, 16, channels, filters of a block). Pixels are transformed for a few tiles at a time.
//
// An output depends on the pixels of its own window alone, because the others have coefficients of 0. If the pixels of
// a tile are equal, row by row or column by column, all its transformed pixels are 0 but those of the second row or
// column, and outputs with equal windows have equal bits. So pooling windows tie as with conv3x3.cpp. Windows
// that are equal along a diagonal alone may differ by rounding.
#include "max_pool2.hpp"
#include "target.hpp"
#include "winograd.hpp"

namespace cnnx {
namespace {

// The tiles of an image, in reading order. The last row or column of outputs in a tile may lie outside of the image.
class Tiles {
 public:
  Tiles(const Conv3x3Shape& s, int first)
      : columns_((s.out_width() + 1) / 2), y_(2 * (first / columns_)), x_(2 * (first % columns_)) {}

  // The first output of the tile.
  int y() const noexcept { return y_; }
  int x() const noexcept { return x_; }
  void next() noexcept {
    x_ += 2;
    if (x_ < 2 * columns_) return;
    x_ = 0;
    y_ += 2;
  }

 private:
  int columns_, y_, x_;
};

// to[blocks of filters][16][channels + 1][filters of a block] = G g G^T, from filters packed as in conv3x3.cpp.
template <class T>
void winograd_transform_filters(T* __restrict to, const T* __restrict packed, const Conv3x3Shape& s) noexcept {
  using V = Vec<T>;
  const Index padded = padded_channels<T>(s.filters), tap = s.channels * padded;
  const Index element = filters_element<T>(s.channels);
  for (Index f = 0; f < padded; f += block<T>, to += 16 * element)
    for (Index c = 0; c < s.channels; ++c)
      for (int lane = 0; lane < block<T>; lane += lanes<T>) {
        const T* const from = packed + c * padded + f + lane;
        T* put = to + c * block<T> + lane;
        const auto transform = [&](const V& g0, const V& g1, const V& g2) {
          const V outer = g0 + g2;
          store(put, g0);
          store(put + element, (outer + g1) * T(0.5));
          store(put + 2 * element, (outer - g1) * T(0.5));
          store(put + 3 * element, g2);
          put += 4 * element;
        };
        V g[3][3], sum[3], difference[3];
        for (int y = 0; y < 3; ++y)
          for (int x = 0; x < 3; ++x) g[y][x] = load<V>(from + (3 * y + x) * tap);
        for (int x = 0; x < 3; ++x) {
          const V outer = g[0][x] + g[2][x];
          sum[x] = (outer + g[1][x]) * T(0.5);
          difference[x] = (outer - g[1][x]) * T(0.5);
        }
        transform(g[0][0], g[0][1], g[0][2]);
        transform(sum[0], sum[1], sum[2]);
        transform(difference[0], difference[1], difference[2]);
        transform(g[2][0], g[2][1], g[2][2]);
      }
}

// to[16][tiles][padded channels] = B^T d B, for `count` tiles.
template <class T>
void transform_pixels(T* __restrict to, const T* input, const T* zeros, Tiles tile, int count, const Conv3x3Shape& s) {
  using V = Vec<T>;
  const Index channels = s.channels, padded = padded_channels<T>(s.channels), element = winograd_tiles * padded;
  for (int t = 0; t < count; ++t, tile.next(), to += padded)
    with_pixels(input, zeros, tile.y(), tile.x(), s, [&](const auto& at) {
      for (Index c = 0;; c = c + 2 * lanes<T> <= channels ? c + lanes<T> : channels - lanes<T>) {
        transform_tile([&](int y, int x) { return load<V>(at(y, x) + c); },
                       [&](int i, const V& v) { store(to + i * element + c, v); });
        if (c + lanes<T> == channels) break;
      }
    });
}

// How many products of a tile are computed before the next tile's: a block, or two where a register is one.
template <class T>
inline constexpr int panel = block<T> < 2 * lanes<T> ? 2 * lanes<T> : block<T>;

// Writes the first `count` lanes, or all if there are fewer.
template <class T>
void put_first(T* to, const Vec<T>& v, int count) {
  if (count >= lanes<T>)
    store(to, v);
  else
    store_first(to, v, count);
}

// Where the 2x2 outputs of a tile go, for a panel of filters from the `first` on. This is an image; outputs outside of
// it go to `outside`.
template <class T>
struct ToImage {
  T *output, *outside;

  struct Place {
    T* to[4];
    bool relu;

    // Takes the outputs of a register of filters, beginning with filter `f` of the panel, of which `left` are left.
    void put(const Vec<T> (&outputs)[4], int f, int left) const {
      // Outputs that are not finite are computed again, so here a ReLU need not keep a NaN.
      const auto least = all<Vec<T>>(relu ? T(0) : T(-__builtin_inf()));
      for (int q = 0; q < 4; ++q) put_first(to[q] + f, larger(least, outputs[q]), left);
    }
  };
  Place of(const Tiles& tile, int first, const Conv3x3Shape& s) const {
    const Index row = Index{s.out_width()} * s.filters;
    T* const at = output + tile.y() * row + Index{tile.x()} * s.filters + first;
    const bool right = tile.x() + 1 < s.out_width(), below = tile.y() + 1 < s.out_height();
    return {{at, right ? at + s.filters : outside, below ? at + row : outside,
             right && below ? at + row + s.filters : outside},
            s.relu};
  }
};

// A MaxPool2, one of whose windows is a tile.
template <class T>
struct ToPool {
  T *output, *winners;
  Ties ties;
  bool relu;

  struct Place {
    T *output, *winners;
    Ties ties;
    bool relu;

    void put(const Vec<T> (&outputs)[4], int f, int left) const {
      auto largest = larger(larger(outputs[0], outputs[1]), larger(outputs[2], outputs[3]));
      const auto winning = choose(largest, outputs, ties, relu);
      put_first(output + f, largest, left);
      put_first(winners + f, (Vec<T>)winning, left);
    }
  };
  Place of(const Tiles& tile, int first, const Conv3x3Shape& s) const {
    const Index window = (Index{tile.y() / 2} * (s.out_width() / 2) + tile.x() / 2) * s.filters + first;
    return {output + window, winners + window, ties, relu};
  }
};

// Hands the outputs A^T m A of `count` tiles to `to`, for `filters` filters from the `first` on, from products
// m[16][tiles][panel]. Adds 0 times the outputs to `check`, which is NaN afterwards if one of them is not finite.
template <class T, class To>
void transform_products(const To& to, Vec<T>& check, const T* product, const T* biases, Tiles tile, int count,
                        int first, int filters, const Conv3x3Shape& s) {
  using V = Vec<T>;
  constexpr Index element = winograd_tiles * panel<T>;
  V zero = check;
  for (int t = 0; t < count; ++t, tile.next(), product += panel<T>) {
    const auto place = to.of(tile, first, s);
    for (int f = 0; f < filters; f += lanes<T>) {
      const V bias = load<V>(biases + first + f);
      const auto of = [&](int y, int x) { return load<V>(product + (4 * y + x) * element + f); };
      const auto above = [&](int x) { return of(0, x) + of(1, x) + of(2, x); };
      const auto under = [&](int x) { return of(1, x) - of(2, x) - of(3, x); };
      V outputs[4];
      const auto across = [&](int y, const V& m0, const V& m1, const V& m2, const V& m3) {
        outputs[2 * y] = m0 + m1 + m2 + bias;
        outputs[2 * y + 1] = m1 - m2 - m3 + bias;
      };
      across(0, above(0), above(1), above(2), above(3));
      across(1, under(0), under(1), under(2), under(3));
      zero += ((outputs[0] + outputs[1]) + (outputs[2] + outputs[3])) * T(0);
      place.put(outputs, f, filters - f);
    }
  }
  check = zero;
}

// What lies on the desk.
template <class T>
struct Desk {
  Desk(T* desk, const Conv3x3Shape& s) : pixels(desk) {
    const Index padded = padded_channels<T>(s.channels);
    products = pixels + 16 * winograd_tiles * padded;
    outside = products + 16 * winograd_tiles * panel<T>;
    zeros = outside + panel<T>;
    __builtin_memset(zeros, 0, sizeof(T) * static_cast<std::size_t>(padded));
  }
  T *pixels, *products, *outside, *zeros;
};

// Returns whether all outputs are finite. If not, they must be computed by conv3x3_forward: an infinite pixel gives NaN
// here where an infinity is right, and transformed numbers are larger than the outputs, so they overflow earlier.
template <class T, class To>
bool compute(const To& to, const T* input, const T* filters, const T* biases, const Desk<T>& desk,
             const Conv3x3Shape& s) {
  const Index padded = padded_channels<T>(s.channels);
  const int tiles = static_cast<int>(s.tiles()), parts = (tiles + winograd_tiles - 1) / winograd_tiles;
  Vec<T> check{};
  for (int part = 0, first = 0; part < parts; ++part) {
    const int count = (tiles - first + parts - part - 1) / (parts - part);
    const Tiles tile(s, first);
    transform_pixels(desk.pixels, input, desk.zeros, tile, count, s);
    for (int f = 0; f < s.filters; f += panel<T>) {
      const T* const of_panel = filters + 16 * filters_element<T>(s.channels) * (f / block<T>);
      const int width = smaller(panel<T>, padded_channels<T>(s.filters) - f);
      for (int i = 0; i < 16; ++i)
        multiply(desk.products + i * winograd_tiles * panel<T>, panel<T>, desk.pixels + i * winograd_tiles * padded,
                 of_panel + i * filters_element<T>(s.channels), count, s.channels, width);
      transform_products(to, check, desk.products, biases, tile, count, f, smaller(panel<T>, s.filters - f), s);
    }
    first += count;
  }
  bool is_finite = true;
  for (int lane = 0; lane < lanes<T>; ++lane) is_finite &= check[lane] == 0;
  return is_finite;
}

template <class T>
bool winograd_forward(T* output, const T* input, const T* filters, const T* biases, T* desk,
                      const Conv3x3Shape& s) noexcept {
  const Desk<T> on_desk(desk, s);
  return compute(ToImage<T>{output, on_desk.outside}, input, filters, biases, on_desk, s);
}

template <class T>
bool winograd_forward_pooled(T* output, T* winners, const T* input, const T* filters, const T* biases, T* desk,
                             const Conv3x3Shape& s, Ties ties, bool relu) noexcept {
  return compute(ToPool<T>{output, winners, ties, relu}, input, filters, biases, Desk<T>(desk, s), s);
}

template <class T>
void enter(Kernels<T>& k) {
  k.winograd_transform_filters = winograd_transform_filters<T>;
  k.winograd_forward = winograd_forward<T>;
  k.winograd_forward_pooled = winograd_forward_pooled<T>;
}

}  // namespace

void CNNX_TARGET::fill_winograd_forward(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  enter(float64);
}

}  // namespace cnnx
