// The kernels of MaxPool2; max_pool2.hpp has the formulas.
#include "max_pool2.hpp"

#include "target.hpp"

namespace cnnx {
namespace {

// Calls body(tile, index of the window's top left in the input, index in the output, number of channels) for every
// window and tile of channels.
template <class T, class Body>
void for_windows(const MaxPool2Shape& s, Body&& body) {
  for_channel_tiles<T, 1>(s.channels, [&](auto tile, int first, int channels) {
    for (int y = 0; y < s.out_height(); ++y)
      for (int x = 0; x < s.out_width(); ++x)
        body(tile, (Index{2 * y} * s.width + 2 * x) * s.channels + first,
             (Index{y} * s.out_width() + x) * s.channels + first, channels);
  });
}

template <class T>
void max_pool2_forward(T* output, const T* input, const MaxPool2Shape& s) noexcept {
  const Index right = s.channels, down = Index{s.width} * s.channels;
  for_windows<T>(s, [&](auto tile, Index in, Index out, int channels) {
    const T* const window = input + in;
    const auto upper = max_or_nan(tile.read(window, channels), tile.read(window + right, channels));
    const auto lower = max_or_nan(tile.read(window + down, channels), tile.read(window + down + right, channels));
    tile.write(output + out, max_or_nan(upper, lower), channels);
  });
}

template <class T>
void max_pool2_choose(T* output, T* winners, const T* input, const MaxPool2Shape& s, Ties ties,
                      bool with_relu) noexcept {
  const Index offset[4] = {0, s.channels, Index{s.width} * s.channels, Index{s.width + 1} * s.channels};
  for_windows<T>(s, [&](auto tile, Index in, Index out, int channels) {
    using V = typename decltype(tile)::V;
    V window[4];
    for (int q = 0; q < 4; ++q) window[q] = tile.read(input + in + offset[q], channels);
    V largest = max_or_nan(max_or_nan(window[0], window[1]), max_or_nan(window[2], window[3]));
    const auto winning = choose(largest, window, ties, with_relu);
    tile.write(output + out, largest, channels);
    tile.write(winners + out, (V)winning, channels);
  });
}

template <class T>
void max_pool2_hand_out(T* d_input, const T* d_output, const T* winners, const MaxPool2Shape& s) noexcept {
  const Index offset[4] = {0, s.channels, Index{s.width} * s.channels, Index{s.width + 1} * s.channels};
  if (s.height % 2 != 0 || s.width % 2 != 0)  // the last row or column is in no window
    __builtin_memset(d_input, 0,
                     sizeof(T) * static_cast<std::size_t>(s.height) * static_cast<std::size_t>(s.width * s.channels));
  for_windows<T>(s, [&](auto tile, Index in, Index out, int channels) {
    const auto winning = tile.read(winners + out, channels), gradient = tile.read(d_output + out, channels);
    for (int q = 0; q < 4; ++q) tile.write(d_input + in + offset[q], given_to(q, winning, gradient), channels);
  });
}

template <class T>
void enter(Kernels<T>& k) {
  k.max_pool2_forward = max_pool2_forward<T>;
  k.max_pool2_choose = max_pool2_choose<T>;
  k.max_pool2_hand_out = max_pool2_hand_out<T>;
}

}  // namespace

void CNNX_TARGET::fill_max_pool2(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
