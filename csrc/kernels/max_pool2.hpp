// MaxPool2 of the article (Part 1, section 4, and Part 2, section 4): the maximum of each 2x2 window for each channel,
// (height, width, channels) -> (height / 2, width / 2, channels). An odd last row or column is left out.
//
//   output[y, x, c] = max of input[2y + i, 2x + j, c] over i, j in {0, 1}
//   d_input[2y + i, 2x + j, c] = d_output[y, x, c] where input[2y + i, 2x + j, c] == output[y, x, c], else 0
//
// The article's rule (Ties::all) gives the gradient to every pixel that equals the maximum; Ties::first gives it to the
// first of them in reading order. A NaN wins, as in numpy's maximum. It equals nothing, so its window passes no
// gradient.
#pragma once

#include "../simd/tiles.hpp"
#include "kernels.hpp"
#include "relu.hpp"

namespace cnnx {
namespace {

template <class V>
V max_or_nan(const V& a, const V& b) {
  return ((b > a) | (b != b)) ? b : a;
}

// Gives `gradient` to those of the window's four values that equal `largest`, or to the first of them.
template <Ties ties, class V>
void hand_out(V (&d_window)[4], const V (&window)[4], const V& largest, const V& gradient) {
  V left = gradient;
  for (int q = 0; q < 4; ++q) {
    const auto wins = equal(window[q], largest);
    d_window[q] = (V)(wins & (decltype(wins == wins))left);
    if constexpr (ties == Ties::first) left = (V)(~wins & (decltype(wins == wins))left);
  }
}

// The same in two steps: which of the four values win, as bit q for value q of an integer as wide as the values, and
// what the winners give to value `q`. Here the rule is no template parameter, because it costs next to nothing.
template <class V>
auto winners_of(const V (&window)[4], const V& largest, Ties ties) {
  using Mask = decltype(largest > largest);
  const Mask first_only = Mask{} - (ties == Ties::first);
  Mask winners{}, left = ~Mask{};
  for (int q = 0; q < 4; ++q) {
    const Mask wins = equal(window[q], largest) & left;
    winners |= wins & (1 << q);
    left &= ~(wins & first_only);
  }
  return winners;
}
// The winners of a window after a ReLU, if there is one. `largest` is the window's largest value, and afterwards what
// the ReLU makes of it.
template <class V>
auto choose(V& largest, const V (&window)[4], Ties ties, bool with_relu) {
  auto winners = winners_of(window, largest, ties);
  if (with_relu) {
    winners &= largest > 0;
    largest = relu(largest);
  }
  return winners;
}
template <class V>
V given_to(int q, const V& winners, const V& gradient) {
  using Mask = decltype(gradient > gradient);
  return (V)((((Mask)winners & (1 << q)) != 0) & (Mask)gradient);
}

}  // namespace
}  // namespace cnnx
