// What the loops over many samples read and write.
#pragma once

#include <cstdint>
#include <variant>

#include "plan.hpp"

namespace cnnx {

// Images (count, height, width), one of the two: bytes, read as x / 255 - 0.5, or values, used unchanged.
template <class T>
struct Images {
  const std::uint8_t* bytes;
  const T* values;
  Index count;

  Images from(Index first, Index count, const Shape& shape) const noexcept {
    const Index at = first * shape.count();
    return {bytes != nullptr ? bytes + at : nullptr, values != nullptr ? values + at : nullptr, count};
  }
};

// What is known of each sample afterwards, in their order; any pointer may be null.
template <class T>
struct Results {
  T* probabilities;  // (samples, nodes)
  double* losses;    // (samples,)
  bool* correct;     // (samples,), whether the label had the largest probability

  Results from(Index first, int nodes) const noexcept {
    return {probabilities != nullptr ? probabilities + first * nodes : nullptr,
            losses != nullptr ? losses + first : nullptr, correct != nullptr ? correct + first : nullptr};
  }
};

// How parameters follow their gradient. The states are as long as all parameters together.
template <class T>
struct Optimizer {
  std::variant<std::monostate, SgdSettings, AdamSettings> settings;  // none: plain gradient descent
  T *first_state, *second_state;                                     // velocity; or first and second moment
  std::int64_t* steps;  // how many it has taken; changes with the states. Null for an optimizer that need not know
};

// The samples of some steps of training. Training may pause between such windows.
struct Batches {
  const std::int64_t* order;   // (samples,), indices of images
  const std::int32_t* labels;  // (samples,)
  Index samples;
  Index batch_size;           // samples a step; the last step may have fewer
  const double* learn_rates;  // one a step
  const double* maps;         // (samples, 2, 3), how each image is resampled, or null
  double background;          // the pixel outside an image, as the first layer reads it
  std::uint64_t seed;         // of the random numbers
  Index samples_before;       // how many samples this run of training has served; 0 for its first window

  Index steps() const noexcept { return samples / batch_size + (samples % batch_size != 0); }
  // The steps from `step` to before `end`.
  Batches between(Index step, Index end) const noexcept {
    const Index first = step * batch_size, last = end == steps() ? samples : end * batch_size;
    return {order + first,
            labels + first,
            last - first,
            batch_size,
            learn_rates != nullptr ? learn_rates + step : nullptr,
            maps != nullptr ? maps + 6 * first : nullptr,
            background,
            seed,
            samples_before + first};
  }
};

// Has memory bring a sample while the one before it is computed: in a shuffled order no hardware can foresee it.
template <class T>
void prefetch(const Images<T>& images, Index sample, const Shape& shape) noexcept {
  const Index size = images.bytes != nullptr ? 1 : Index{sizeof(T)};
  const char* const image = images.bytes != nullptr ? reinterpret_cast<const char*>(images.bytes)
                                                    : reinterpret_cast<const char*>(images.values);
  for (Index at = 0; at < shape.count() * size; at += 64)
    __builtin_prefetch(image + sample * shape.count() * size + at);
}

// Puts a sample at the first boundary, resampled if there is a map.
template <class T>
void load(Workspace<T>& workspace, const Images<T>& images, Index sample, const double* map, double background,
          const Shape& shape);

extern template void load(Workspace<float>&, const Images<float>&, Index, const double*, double, const Shape&);
extern template void load(Workspace<double>&, const Images<double>&, Index, const double*, double, const Shape&);

}  // namespace cnnx
