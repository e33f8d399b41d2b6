// Conv3x3 of the article, for any number of channels, without padding (stride 1, cross-correlation):
//
//   output[y, x, f] = biases[f] + sum over dy, dx, c of  input[y + dy, x + dx, c] * filters[f, dy, dx, c]
//
// input (height, width, channels), filters (filters, 3, 3, channels), output (height - 2, width - 2,
// filters). In a channels-last image the three pixels under one filter row are 3 * channels consecutive
// numbers, so the sum over a window is three runs. Filters sit in the lanes: every output sums in the same
// order on every target.
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

// The filters for the convolution that is the backward pass of one: channels and filters have changed places, and the
// windows are turned by half a turn. Packed as above, for biases of 0.
template <class T>
void pack_flipped_filters(T* packed, const T* filters, const Conv3x3Shape& s) noexcept {
  const int padded = padded_channels<T>(s.channels);
  __builtin_memset(packed, 0, sizeof(T) * static_cast<std::size_t>(Index{9 * s.filters + 1} * padded));
  for (int tap = 9; tap-- > 0;)
    for (int f = 0; f < s.filters; ++f, packed += padded)
      __builtin_memcpy(packed, filters + (Index{f} * 9 + tap) * s.channels,
                       sizeof(T) * static_cast<std::size_t>(s.channels));
}

// Adds a packed gradient to one of the filters, (filters, taps), and the biases after them.
template <class T>
void add_unpacked_filters(T* __restrict gradient, const T* __restrict d_packed, const Conv3x3Shape& s) noexcept {
  const Index taps = s.taps(), padded = padded_channels<T>(s.filters);
  for (int f = 0; f < s.filters; ++f)
    for (Index tap = 0; tap < taps; ++tap) gradient[f * taps + tap] += d_packed[tap * padded + f];
  for (int f = 0; f < s.filters; ++f) gradient[s.filters * taps + f] += d_packed[taps * padded + f];
}

// Calls body(first pixel, number of pixels as a constant) for the pixels of one row: `most` at a time, a multiple of
// six, and the rest by fewer.
template <int most, class Body>
void for_pixels(int width, Body&& body) {
  int x = 0;
  const auto sweep = [&](auto pixels) {
    for (; width - x >= pixels; x += pixels) body(x, pixels);
  };
  sweep(std::integral_constant<int, most>{});
  if constexpr (most > 6) sweep(std::integral_constant<int, 6>{});
  sweep(std::integral_constant<int, 3>{});
  sweep(std::integral_constant<int, 1>{});
}

// The same for a body that may do a pixel twice, because it sets and does not add: the rest is one group, which reaches
// back.
template <int most, class Body>
void for_pixels_reaching_back(int width, Body&& body) {
  int x = 0;
  for (; width - x >= most; x += most) body(x, std::integral_constant<int, most>{});
  const int rest = width - x;
  bool done = rest == 0;
  const auto finish = [&](auto pixels) {
    if (done || rest > pixels || width < pixels) return;
    body(width - pixels, pixels);
    done = true;
  };
  finish(std::integral_constant<int, 1>{});
  finish(std::integral_constant<int, 3>{});
  finish(std::integral_constant<int, 6>{});
  if constexpr (most > 6) finish(std::integral_constant<int, most>{});
  if (!done) for_pixels<most>(width, body);
}

// `pixels` neighbouring outputs of one row, one register tile of their filters.
template <class Tile, int pixels, class T>
void conv3x3_tile(T* output, const T* input, const T* packed, int filters, const Conv3x3Shape& s) {
  typename Tile::V sum[pixels][Tile::vectors];
  const int padded = padded_channels<T>(s.filters);
  for (int v = 0; v < Tile::vectors; ++v) {
    const auto bias = load<typename Tile::V>(packed + Index{s.taps()} * padded + v * Tile::lanes);
    for (int p = 0; p < pixels; ++p) sum[p][v] = bias;
  }
  // An address is a pointer and up to three times the channels: few enough registers for all of them.
  constexpr int together = 4, groups = (pixels + together - 1) / together;
  const Index channels = s.channels;
  for (int dy = 0; dy < 3; ++dy, input += Index{s.width} * s.channels) {
    const T* at[groups];
    for (int g = 0; g < groups; ++g) at[g] = input + g * together * channels;
    for (int i = 0; i < 3 * s.channels; ++i, packed += padded) {
      typename Tile::V filter[Tile::vectors];
      for (int v = 0; v < Tile::vectors; ++v) filter[v] = load<typename Tile::V>(packed + v * Tile::lanes);
      for (int p = 0; p < pixels; ++p) {
        const auto pixel = all<typename Tile::V>(at[p / together][p % together * channels]);
        for (int v = 0; v < Tile::vectors; ++v) sum[p][v] += pixel * filter[v];
      }
      for (int g = 0; g < groups; ++g) {
        ++at[g];
        hide_pointer(at[g]);
      }
    }
  }
  if (s.relu)
    for (int p = 0; p < pixels; ++p)
      for (int v = 0; v < Tile::vectors; ++v) sum[p][v] = relu(sum[p][v]);
  for (int p = 0; p < pixels; ++p)
    for (int v = 0; v < Tile::vectors; ++v) Tile::write(output + p * s.filters + v * Tile::lanes, sum[p][v], filters);
}

template <class T>
void conv3x3_forward(T* output, const T* input, const T* packed, const Conv3x3Shape& s) noexcept {
  for_channel_tiles<T>(s.filters, [&](auto tile, int first, int count) {
    for (int y = 0; y < s.out_height(); ++y) {
      T* const out_row = output + Index{y} * s.out_width() * s.filters + first;
      const T* const row = input + Index{y} * s.width * s.channels;
      const auto compute = [&](int x, auto pixels) {
        conv3x3_tile<decltype(tile), pixels>(out_row + x * s.filters, row + x * s.channels, packed + first, count, s);
      };
      // A multiply-add waits for the one before it, so that a CPU needs eight sums or more at a time.
      for_pixels_reaching_back<tile.vectors == 1 ? 12 : 6>(s.out_width(), compute);
    }
  });
}

// d_filters[f, dy, dx, c] = sum over y, x of  d_output[y, x, f] * input[y + dy, x + dx, c]
// d_biases[f] = sum over y, x of  d_output[y, x, f]
// The sums of one tile of taps stay in registers while the whole image passes by. The bias is a tap whose input is 1.
template <class Tile, int taps, class T>
void conv3x3_backward_filters_tile(T* d_packed, const T* d_output, const T* input, int first_tap, int filters,
                                   const Conv3x3Shape& s) {
  const int run = 3 * s.channels;
  Index offset[taps];
  for (int t = 0; t < taps; ++t)
    offset[t] = Index{(first_tap + t) / run} * s.width * s.channels + (first_tap + t) % run;

  typename Tile::V sum[taps][Tile::vectors] = {};
  for (int y = 0; y < s.out_height(); ++y, input += (s.width - s.out_width()) * s.channels)
    for (int x = 0; x < s.out_width(); ++x, input += s.channels, d_output += s.filters) {
      typename Tile::V gradient[Tile::vectors];
      for (int v = 0; v < Tile::vectors; ++v) gradient[v] = Tile::read(d_output + v * Tile::lanes, filters);
      for (int t = 0; t < taps; ++t) {
        const auto pixel = all<typename Tile::V>(input[offset[t]]);
        for (int v = 0; v < Tile::vectors; ++v) sum[t][v] += pixel * gradient[v];
      }
    }
  for (int t = 0; t < taps; ++t)
    for (int v = 0; v < Tile::vectors; ++v)
      Tile::write(d_packed + Index{first_tap + t} * padded_channels<T>(s.filters) + v * Tile::lanes, sum[t][v],
                  filters);
}

// d_packed is set; what pads its rows stays as it is.
template <class T>
void conv3x3_backward_filters(T* __restrict d_packed, const T* __restrict d_output, const T* input,
                              const Conv3x3Shape& s) noexcept {
  for_channel_tiles<T>(s.filters, [&](auto tile, int first, int filters) {
    // There are nine taps for each channel.
    int tap = 0;
    const auto sweep = [&](auto taps) {
      for (; s.taps() - tap >= taps; tap += taps)
        conv3x3_backward_filters_tile<decltype(tile), taps>(d_packed + first, d_output + first, input, tap, filters, s);
    };
    if constexpr (tile.vectors == 1) {
      sweep(std::integral_constant<int, 9>{});
    } else {
      sweep(std::integral_constant<int, 6>{});
      sweep(std::integral_constant<int, 3>{});
    }
  });
  T* const d_biases = d_packed + Index{s.taps()} * padded_channels<T>(s.filters);
  for (int f = 0; f < s.filters; ++f) d_biases[f] = 0;
  for (Index pixel = 0; pixel < Index{s.out_height()} * s.out_width(); ++pixel, d_output += s.filters)
    for (int f = 0; f < s.filters; ++f) d_biases[f] += d_output[f];
}

// What `pixels` neighbouring outputs of one row give to the taps of their windows, one register tile of them:
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
// Taps sit in the lanes, as a filter's taps are consecutive; each output's shares are then added to its window.
template <class T>
void conv3x3_backward_input(T* d_input, const T* d_output, const T* filters, T* scratch,
                            const Conv3x3Shape& s) noexcept {
  const int width = s.width * s.channels;
  __builtin_memset(d_input, 0, sizeof(T) * static_cast<std::size_t>(s.height) * static_cast<std::size_t>(width));
  for (int y = 0; y < s.out_height(); ++y, d_input += width)
    for_pixels<conv_tile_pixels>(s.out_width(), [&](int x, auto pixels) {
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
  enter(float64);
}

}  // namespace cnnx
