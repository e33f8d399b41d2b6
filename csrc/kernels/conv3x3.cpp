// Conv3x3 of the article (Part 1, section 3, and Part 2, section 5), for any number of channels, without padding
// (stride 1, cross-correlation):
//
//   output[y, x, f] = biases[f] + sum over dy, dx, c of  input[y + dy, x + dx, c] * filters[f, dy, dx, c]
//
// input (height, width, channels), filters (filters, 3, 3, channels), output (height - 2, width - 2, filters). A filter
// has 9 * channels taps. Images are channels last, so the three pixels below one row of a filter are one run of
// 3 * channels consecutive numbers, and a window is three such runs. Filters are in the lanes: an output is added up in
// the same order on every target.
#include "../simd/tiles.hpp"
#include "relu.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

template <class T>
void pack_filters(T* __restrict packed, const T* __restrict filters, const T* __restrict biases,
                  const Conv3x3Shape& s) noexcept {
  const Index taps = s.taps(), padded = padded_channels<T>(s.filters);
  __builtin_memset(packed, 0, sizeof(T) * static_cast<std::size_t>((taps + 1) * padded));
  for (int f = 0; f < s.filters; ++f)
    for (Index tap = 0; tap < taps; ++tap) packed[tap * padded + f] = filters[f * taps + tap];
  if (biases != nullptr)
    for (int f = 0; f < s.filters; ++f) packed[taps * padded + f] = biases[f];
}

template <class T>
void unpack_filters(T* filters, T* biases, const T* packed, const Conv3x3Shape& s) noexcept {
  const Index taps = s.taps(), padded = padded_channels<T>(s.filters);
  for (int f = 0; f < s.filters; ++f)
    for (Index tap = 0; tap < taps; ++tap) filters[f * taps + tap] = packed[tap * padded + f];
  if (biases != nullptr)
    for (int f = 0; f < s.filters; ++f) biases[f] = packed[taps * padded + f];
}

// Packs the filters of the convolution that computes the input's gradient: channels and filters have swapped roles, and
// windows are rotated by 180 degrees. packed[(8 - tap) * filters + f][c] = filters[f][tap][c], where tap counts the
// nine pixels of a window; the biases are 0.
template <class T>
void pack_flipped_filters(T* packed, const T* filters, const Conv3x3Shape& s) noexcept {
  const int padded = padded_channels<T>(s.channels);
  __builtin_memset(packed, 0, sizeof(T) * static_cast<std::size_t>(Index{9 * s.filters + 1} * padded));
  for (int tap = 9; tap-- > 0;)
    for (int f = 0; f < s.filters; ++f, packed += padded)
      __builtin_memcpy(packed, filters + (Index{f} * 9 + tap) * s.channels,
                       sizeof(T) * static_cast<std::size_t>(s.channels));
}

// Adds a packed gradient to a gradient in the layout (filters, taps) followed by the biases, (filters,).
template <class T>
void add_unpacked_filters(T* __restrict gradient, const T* __restrict d_packed, const Conv3x3Shape& s) noexcept {
  const Index taps = s.taps(), padded = padded_channels<T>(s.filters);
  constexpr int together = lanes_of<T>;  // filters: a cache line of d_packed, and as many of the gradient stay in cache
  for (int first = 0; first < s.filters; first += together) {
    const int last = smaller(first + together, s.filters);
    for (Index tap = 0; tap < taps; ++tap)
      for (int f = first; f < last; ++f) gradient[f * taps + tap] += d_packed[tap * padded + f];
  }
  for (int f = 0; f < s.filters; ++f) gradient[s.filters * taps + f] += d_packed[taps * padded + f];
}

// Calls body(first pixel, number of pixels as a constant) for the pixels of one row, in groups of 6, 3 and 1.
template <class Body>
void for_pixels(int width, Body&& body) {
  int x = 0;
  const auto sweep = [&](auto pixels) {
    for (; width - x >= pixels; x += pixels) body(x, pixels);
  };
  sweep(std::integral_constant<int, 6>{});
  sweep(std::integral_constant<int, 3>{});
  sweep(std::integral_constant<int, 1>{});
}

// The same for a body that may compute a pixel twice, because it sets its results and does not add to them. A row is
// cut into as few groups of at most 12 as possible, of which as many as possible are smaller, and the last one reaches
// back.
template <class Body>
void for_pixels_reaching_back(int width, Body&& body) {
  int x = 0;
  const auto sweep = [&](auto pixels, int groups) {
    for (; groups > 0; --groups, x += pixels) body(smaller(x, width - pixels), pixels);
  };
  const int groups = (width + 11) / 12, nines = smaller(groups, (12 * groups - width) / 3);
  if (width >= 12 || width == 9) {
    sweep(std::integral_constant<int, 12>{}, groups - nines);
    sweep(std::integral_constant<int, 9>{}, nines);
  } else if (width >= 6) {
    sweep(std::integral_constant<int, 6>{}, (width + 5) / 6);
  } else if (width >= 3) {
    sweep(std::integral_constant<int, 3>{}, (width + 2) / 3);
  } else {
    sweep(std::integral_constant<int, 1>{}, width);
  }
}

// The same in groups of six, and then of the number that is left. One or two pixels would take as long as four, because
// each multiply-add waits for the one before it in the same sum. So the last six and these are two groups of four, and
// 13 are a group of five and two of four.
template <class Body>
void for_sixes_reaching_back(int width, Body&& body) {
  const int sixes = width / 6, rest = width % 6;
  const bool has_fours = sixes > 0 && (rest == 1 || rest == 2), has_five = sixes > 1 && rest == 1;
  int x = 0;
  for (; x < 6 * (sixes - has_fours - has_five); x += 6) body(x, std::integral_constant<int, 6>{});
  if (has_five) body(x, std::integral_constant<int, 5>{});
  if (has_five) x += 5;
  if (has_fours) body(x, std::integral_constant<int, 4>{});
  if (has_fours || rest == 4) return body(width - 4, std::integral_constant<int, 4>{});
  if (rest == 5) return body(x, std::integral_constant<int, 5>{});
  if (rest == 3) return body(x, std::integral_constant<int, 3>{});
  for (; x < width; ++x) body(x, std::integral_constant<int, 1>{});
}

// Where the sums of neighbouring output pixels are written, each in whole registers of `lanes` in all. If they are
// wider than the `count` filters, they are written to a copy, of which finish() takes what belongs to the output.
template <class T, int lanes, int pixels>
class OutputPixels {
 public:
  OutputPixels(T* output, Index stride, int count)
      : output_(output),
        stride_(stride),
        count_(count),
        at_(count < lanes ? copy_ : output),
        step_(count < lanes ? lanes : stride) {}

  T* operator[](int p) const { return at_ + p * step_; }
  void finish() const {
    if (count_ < lanes) take(output_, stride_, copy_, count_);
  }

 private:
  [[gnu::noinline]] static void take(T* to, Index stride, const T* from, int count) {
    using V = Vec<T, 16>;
    constexpr int some = 16 / static_cast<int>(sizeof(T));
    for (int p = 0; p < pixels; ++p, to += stride, from += lanes) {
      int i = 0;
      for (; i + some <= count; i += some) store(to + i, load<V>(from + i));
      if (i < count) store_first(to + i, load<V>(from + i), count - i);
    }
  }

  T copy_[lanes * pixels];
  T* output_;
  Index stride_;
  int count_;
  T* at_;
  Index step_;
};

// The rows of a window that it reads, from `first` to `last` - 1. The others lie in a ring of zeros.
struct WindowRows {
  int first, last;
};

// How a tile's outputs in one row of an image lie in registers. The last argument, the distance to the next row, is for
// TwoRows.
template <class Tile>
struct OneRow {
  using V = typename Tile::V;
  static constexpr int vectors = Tile::vectors, lanes = Tile::lanes;
  static constexpr bool partial = Tile::partial;
  template <class T>
  static V of_filters(const T* at) {
    return load<V>(at);
  }
  template <class T>
  static V of_pixel(const T* at, Index) {
    return all<V>(*at);
  }
  template <class T>
  static void write(T* to, const V& v, int filters, Index) {
    Tile::write(to, v, filters);
  }
};

#if defined(__AVX512F__)
// The same in two rows, for half a register of filters: the lower half of a register is the upper row.
template <class T>
struct TwoRows {
  using V = Vec<T>;
  using Half = Vec<T, 32>;
  static constexpr int vectors = 1, lanes = 32 / static_cast<int>(sizeof(T));
  static constexpr bool partial = false;
  static V of_filters(const float* at) { return (V)_mm512_maskz_broadcast_f32x8(0xffff, (__m256)load<Half>(at)); }
  static V of_filters(const double* at) { return (V)_mm512_maskz_broadcast_f64x4(0xff, (__m256d)load<Half>(at)); }
  static V of_pixel(const float* at, Index next) {
    return (V)_mm512_mask_broadcastss_ps((__m512)all<V>(*at), 0xff00, _mm_load_ss(at + next));
  }
  static V of_pixel(const double* at, Index next) {
    return (V)_mm512_mask_broadcastsd_pd((__m512d)all<V>(*at), 0xf0, _mm_load_sd(at + next));
  }
  static void write(float* to, const V& v, int, Index next) {
    store(to, (Half)_mm512_maskz_extractf32x8_ps(0xff, (__m512)v, 0));
    store(to + next, (Half)_mm512_maskz_extractf32x8_ps(0xff, (__m512)v, 1));
  }
  static void write(double* to, const V& v, int, Index next) {
    store(to, (Half)_mm512_maskz_extractf64x4_pd(0xf, (__m512d)v, 0));
    store(to + next, (Half)_mm512_maskz_extractf64x4_pd(0xf, (__m512d)v, 1));
  }
};
#endif

// Computes `pixels` neighbouring output pixels of one row, or of each of two, for one tile of filters. Neighbouring
// windows share what is read: if there are registers for it, a pixel is multiplied by all three taps of its row. Not
// inlined: where GCC puts several of these into one function, it keeps their sums in memory.
template <class Outputs, int pixels, class T>
__attribute__((noinline)) void conv3x3_tile(T* output, const T* input, const T* packed, int filters,
                                            const WindowRows& rows, const Conv3x3Shape& s) {
  using V = typename Outputs::V;
  const Index padded = padded_channels<T>(s.filters), channels = s.channels, tap = channels * padded;
  V sum[pixels][Outputs::vectors];
// Here and below, GCC would otherwise make loops, and so keep the sums in memory.
#pragma GCC unroll 12
  for (int p = 0; p < pixels; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < Outputs::vectors; ++v) sum[p][v] = Outputs::of_filters(packed + 9 * tap + v * Outputs::lanes);
  constexpr int taps = (pixels + 3) * Outputs::vectors < register_count ? 3 : 1;  // that are in registers at a time
  // Four columns share a pointer: their addresses are the pointer plus 0 to 3 times the channels. A pointer for each
  // column would need more registers than there are.
  constexpr int columns = pixels + taps - 1, together = 4, groups = (columns + together - 1) / together;
  const Index row = s.width * channels;
  const T* at[groups];
  for (int g = 0; g < groups; ++g) at[g] = input + rows.first * row + g * together * channels;
  packed += rows.first * 3 * tap;
  for (int dy = rows.first; dy < rows.last; ++dy, packed += 2 * tap) {
    for (Index c = 0; c < channels; ++c, packed += padded) {
#pragma GCC unroll 1
      for (int first = 0; first < 3; first += taps) {
        V filter[taps][Outputs::vectors];
        for (int dx = 0; dx < taps; ++dx)
          for (int v = 0; v < Outputs::vectors; ++v)
            filter[dx][v] = Outputs::of_filters(packed + (first + dx) * tap + v * Outputs::lanes);
#pragma GCC unroll 14
        for (int column = 0; column < columns; ++column) {
          const auto pixel = Outputs::of_pixel(at[column / together] + column % together * channels, row);
#pragma GCC unroll 3
          for (int dx = taps - 1; dx >= 0; --dx)  // the oldest sum first, because each addition waits for the last
            if (const int p = column - dx; p >= 0 && p < pixels)
#pragma GCC unroll 2
              for (int v = 0; v < Outputs::vectors; ++v) sum[p][v] += pixel * filter[dx][v];
          keep(pixel);
        }
        for (int g = 0; g < groups; ++g) {
          at[g] += taps == 3 ? 1 : channels;
          hide_pointer(at[g]);
        }
      }
      if constexpr (taps == 1)
        for (int g = 0; g < groups; ++g) at[g] += 1 - 3 * channels;
    }
    for (int g = 0; g < groups; ++g) at[g] += row - channels;
  }
  const bool with_relu = s.relu;
  const Index next_row = s.out_width() * s.filters;
  constexpr int lanes = Outputs::vectors * Outputs::lanes;
  OutputPixels<T, lanes, pixels> to(output, s.filters, Outputs::partial ? lanes : filters);
#pragma GCC unroll 12
  for (int p = 0; p < pixels; ++p)
#pragma GCC unroll 2
    for (int v = 0; v < Outputs::vectors; ++v)
      Outputs::write(to[p] + v * Outputs::lanes, with_relu ? relu(sum[p][v]) : sum[p][v], filters, next_row);
  to.finish();
}

// The same for all pixels of an image with one channel, at least four pixels wide, for one register of filters. The
// nine taps stay in registers, and neighbouring pixels share what they read.
template <class V, class T>
__attribute__((noinline)) void conv3x3_one_channel(T* output, const T* input, const T* packed, int count,
                                                   const Conv3x3Shape& s) {
  constexpr int pixels = 4;
  const int padded = padded_channels<T>(s.filters), width = s.width, filters = s.filters, out_width = s.out_width();
  const int out_height = s.out_height();
  const bool with_relu = s.relu;
  V filter[9];
  for (int tap = 0; tap < 9; ++tap) {
    filter[tap] = load<V>(packed + tap * padded);
    hide(filter[tap]);
  }
  const auto bias = load<V>(packed + 9 * padded);
  for (int y = 0; y < out_height; ++y, input += width, output += out_width * filters)
    for (int from = 0; from < out_width; from += pixels) {
      const int x = smaller(from, out_width - pixels);
      V sum[pixels];
      for (auto& of_pixel : sum) of_pixel = bias;
      for (int dy = 0; dy < 3; ++dy)
        for (int column = 0; column < pixels + 2; ++column) {
          const auto pixel = all<V>(input[dy * width + x + column]);
          for (int dx = 0; dx < 3; ++dx)
            if (const int p = column - dx; p >= 0 && p < pixels) sum[p] += pixel * filter[3 * dy + dx];
        }
      if (with_relu)
        for (auto& of_pixel : sum) of_pixel = relu(of_pixel);
      OutputPixels<T, sizeof(V) / sizeof(T), pixels> to(output + x * filters, filters, count);
    // GCC would otherwise store in a loop, and so keep the sums in memory.
#pragma GCC unroll pixels
      for (int p = 0; p < pixels; ++p) store(to[p], sum[p]);
      to.finish();
    }
}

template <class T>
void conv3x3_forward(T* output, const T* input, const T* packed, const Conv3x3Shape& s) noexcept {
  for_padded_channel_tiles<T, 2>(s.filters, [&](auto tile, int first, int count) {
    if constexpr (!tile.partial)
      if (s.channels == 1 && s.out_width() >= 4 && !s.skips_ring) {
        for (int at = first; at < first + tile.vectors * tile.lanes; at += tile.lanes)
          conv3x3_one_channel<typename decltype(tile)::V>(output + at, input, packed + at, count, s);
        return;
      }
    for (int y = 0; y < s.out_height(); ++y) {
      T* const out_row = output + Index{y} * s.out_width() * s.filters + first;
      const T* const row = input + Index{y} * s.width * s.channels;
      const int ring = s.skips_ring ? s.padding : 0, below = s.height - ring - y;
      const WindowRows rows{ring > y ? ring - y : 0, below < 3 ? below : 3};
      const auto compute = [&](auto outputs) {
        const auto compute_group = [&](int x, auto pixels) {
          conv3x3_tile<decltype(outputs), pixels>(out_row + x * s.filters, row + x * s.channels, packed + first, count,
                                                  rows, s);
        };
        // Each multiply-add waits for the one before it in the same sum, so a CPU needs eight or more sums at a time.
        if constexpr (outputs.vectors == 1)
          for_pixels_reaching_back(s.out_width(), compute_group);
        else
          for_sixes_reaching_back(s.out_width(), compute_group);
      };
#if defined(__AVX512F__)
      // The second row's window may end in the ring, whose zeros change nothing.
      if constexpr (tile.bytes == 32)
        if (count == tile.lanes && rows.first == 0 && rows.last == 3 && y + 1 < s.out_height()) {
          compute(TwoRows<T>{});
          ++y;
          continue;
        }
#endif
      compute(OneRow<decltype(tile)>{});
    }
  });
}

// d_filters[f, dy, dx, c] = sum over y, x of  d_output[y, x, f] * input[y + dy, x + dx, c]
// d_biases[f] = sum over y, x of  d_output[y, x, f]
// Adds the shares of `height` rows of outputs to some taps: to `count` neighbouring ones in each of `rows` rows of the
// window. Their sums stay in registers. The first `done` lanes belong to other tiles and are dropped.
template <class Tile, int rows, int count, class T>
__attribute__((noinline)) void conv3x3_backward_filters_tile(T* __restrict d_packed, const T* d_output, const T* input,
                                                             int height, int filters, [[maybe_unused]] int done,
                                                             const Conv3x3Shape& s) {
  const Index width = s.out_width(), channels = s.channels, stride = s.filters, row = s.width * channels;
  typename Tile::V sum[rows][count][Tile::vectors] = {};
  for (int y = 0; y < height; ++y, input += row) {
    const T* at[rows];
    for (int r = 0; r < rows; ++r) at[r] = input + r * row;
    for (Index x = 0; x < width; ++x, d_output += stride) {
      typename Tile::V gradient[Tile::vectors];
      for (int v = 0; v < Tile::vectors; ++v) gradient[v] = Tile::read(d_output + v * Tile::lanes, filters);
      for (int r = 0; r < rows; ++r, at[r - 1] += channels)
        for (int t = 0; t < count; ++t) {
          const auto pixel = all<typename Tile::V>(at[r][t]);
          for (int v = 0; v < Tile::vectors; ++v) sum[r][t][v] += pixel * gradient[v];
        }
    }
  }
  const Index padded = padded_channels<T>(s.filters);
  for (int r = 0; r < rows; ++r)
    for (int t = 0; t < count; ++t)
      for (int v = 0; v < Tile::vectors; ++v) {
        T* const to = d_packed + (r * 3 * channels + t) * padded + v * Tile::lanes;
        if constexpr (Tile::vectors == 1 && !Tile::partial) {
          if (done > 0) {
            T rest[Tile::lanes];
            store(rest, sum[r][t][v]);
            for (int lane = done; lane < Tile::lanes; ++lane) to[lane] += rest[lane];
            continue;
          }
        }
        Tile::write(to, Tile::read(to, filters) + sum[r][t][v], filters);
      }
}

// Adds to d_packed. All taps of a band of rows are computed before the next band, so that the band stays in L1.
template <class T>
void conv3x3_backward_filters(T* __restrict d_packed, const T* __restrict d_output, const T* input,
                              const Conv3x3Shape& s) noexcept {
  const Index padded = padded_channels<T>(s.filters), run = 3 * s.channels;
  const Index in_row = Index{s.width} * s.channels, out_row = Index{s.out_width()} * s.filters;
  constexpr Index band_bytes = 1 << 14;
  const auto band = static_cast<int>(band_bytes / (static_cast<Index>(sizeof(T)) * (in_row + out_row)) + 1);
  for (int y = 0; y < s.out_height(); y += band) {
    const int height = smaller(band, s.out_height() - y);
    for_channel_tiles<T>(s.filters, [&](auto tile, int first, int filters) {
      // Only a tile that reaches back begins within a tile of its own size.
      const int back = first % tile.lanes, done = back > 0 ? tile.lanes - back : 0;
      const auto compute = [&](auto rows, auto count, int dy, Index tap) {
        conv3x3_backward_filters_tile<decltype(tile), rows, count>(
            d_packed + (dy * run + tap) * padded + first, d_output + y * out_row + first,
            input + (y + dy) * in_row + tap, height, filters, done, s);
      };
      constexpr std::integral_constant<int, 1> one;
      constexpr std::integral_constant<int, 2> two;
      constexpr std::integral_constant<int, 3> three;
      Index tap = 0;
      const auto sweep = [&](auto count) {
        for (; run - tap >= count; tap += count)
          for (int dy = 0; dy < 3; ++dy) compute(one, count, dy, tap);
      };
      if constexpr (tile.vectors == 1) {
        // Not for the narrowest registers, because another size of tile would be much code for few filters.
        if constexpr (sizeof(typename decltype(tile)::V) > 16) sweep(std::integral_constant<int, 12>{});
        for (; tap < run; tap += 3) compute(three, three, 0, tap);
      } else {
        sweep(std::integral_constant<int, 6>{});
        if (tap < run) compute(two, three, 0, tap), compute(one, three, 2, tap);
      }
    });
  }
  if (!s.bias) return;
  T* const d_biases = d_packed + s.taps() * padded;
  add_rows(d_biases, d_output, Index{s.out_height()} * s.out_width(), s.filters);
}

// The shares of `pixels` neighbouring output pixels in the gradient of their windows, for one tile of taps:
// shares[p][tap] = sum over f of  d_output[p, f] * filters[f, tap]
template <class Tile, int pixels, class T>
void conv3x3_backward_shares(T* shares, const T* d_output, const T* filters, int taps, const Conv3x3Shape& s) {
  typename Tile::V sum[pixels][Tile::vectors] = {};
  for (int f = 0; f < s.filters; ++f, filters += s.taps()) {
    typename Tile::V filter[Tile::vectors];
    for (int v = 0; v < Tile::vectors; ++v) filter[v] = Tile::read(filters + v * Tile::lanes, taps);
    for (int p = 0; p < pixels; ++p) {
      const auto gradient = all<typename Tile::V>(d_output[p * s.filters + f]);
      for (int v = 0; v < Tile::vectors; ++v) sum[p][v] += gradient * filter[v];
    }
  }
  for (int p = 0; p < pixels; ++p)
    for (int v = 0; v < Tile::vectors; ++v) Tile::write(shares + p * s.taps() + v * Tile::lanes, sum[p][v], taps);
}

// d_input[y, x, c] = sum over dy, dx, f of  d_output[y - dy, x - dx, f] * filters[f, dy, dx, c]
// Taps are in the lanes, because a filter's taps are consecutive. The shares of each output pixel are then added to its
// window.
template <class T>
void conv3x3_backward_input(T* d_input, const T* d_output, const T* filters, T* scratch,
                            const Conv3x3Shape& s) noexcept {
  const int width = s.width * s.channels;
  __builtin_memset(d_input, 0, sizeof(T) * static_cast<std::size_t>(s.height) * static_cast<std::size_t>(width));
  for (int y = 0; y < s.out_height(); ++y, d_input += width)
    for_pixels(s.out_width(), [&](int x, auto pixels) {
      for_channel_tiles<T>(s.taps(), [&](auto tile, int first, int taps) {
        conv3x3_backward_shares<decltype(tile), pixels>(scratch + first, d_output, filters + first, taps, s);
      });
      const auto add = [&](auto run) {
        const T* share = scratch;
        T* window = d_input + x * s.channels;
        for (int p = 0; p < pixels; ++p, window += s.channels)
          for (int dy = 0; dy < 3; ++dy, share += run)
            for (int i = 0; i < run; ++i) window[dy * width + i] += share[i];
      };
      if (s.channels == 1)
        add(std::integral_constant<int, 3>{});
      else
        add(3 * s.channels);
      d_output += pixels * s.filters;
    });
}

template <class T>
void enter(Kernels<T>& k) {
  k.pack_filters = pack_filters<T>;
  k.unpack_filters = unpack_filters<T>;
  k.pack_flipped_filters = pack_flipped_filters<T>;
  k.add_unpacked_filters = add_unpacked_filters<T>;
  k.conv3x3_forward = conv3x3_forward<T>;
  k.conv3x3_backward_filters = conv3x3_backward_filters<T>;
  k.conv3x3_backward_input = conv3x3_backward_input<T>;
}

}  // namespace

void CNNX_TARGET::fill_conv3x3(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
