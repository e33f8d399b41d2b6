// What cnnx.train draws from numpy's global generator after np.random.seed(seed), to the bit.
//
// Sources: M. Matsumoto and T. Nishimura, "Mersenne Twister" (1998), which std::mt19937 is; G. Marsaglia and T. Bray,
// "A convenient method for generating normal variables" (1964); R. Durstenfeld, "Algorithm 235: Random permutation"
// (1964).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>

namespace cnnx {

class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed) : bits_(seed) {}

  // A standard normal number. The polar method makes two at a time; the other one is kept for the next call.
  double normal() {
    if (has_kept_) {
      has_kept_ = false;
      return kept_;
    }
    double x, y, square;
    do {
      x = 2 * uniform() - 1;
      y = 2 * uniform() - 1;
      square = x * x + y * y;
    } while (square >= 1 || square == 0);
    const double factor = std::sqrt(-2 * std::log(square) / square);
    kept_ = factor * x;
    has_kept_ = true;
    return factor * y;
  }

  // Sets `order` to a permutation of 0 to count - 1.
  void permutation(std::uint32_t* order, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) order[i] = i;
    for (std::uint32_t i = count; i-- > 1;) std::swap(order[i], order[at_most(i)]);
  }

 private:
  std::uint32_t next() { return static_cast<std::uint32_t>(bits_()); }
  // From 0 to 1, with 53 random bits.
  double uniform() {
    const double high = next() >> 5, low = next() >> 6;
    return (high * 0x1p26 + low) * 0x1p-53;
  }
  // From 0 to `most`: draws as many bits as `most` has until they are no larger.
  std::uint32_t at_most(std::uint32_t most) {
    const std::uint32_t mask = (2U << (std::bit_width(most) - 1)) - 1;
    std::uint32_t value;
    do value = next() & mask;
    while (value > most);
    return value;
  }

  std::mt19937 bits_;
  bool has_kept_ = false;
  double kept_ = 0;
};

}  // namespace cnnx
