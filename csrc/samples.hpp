// What the loops over many samples read and write, and how a sample is loaded.
#pragma once

#include <cstdint>
#include <variant>

#include "plan.hpp"

namespace cnnx {

class Ranks;

// Images (count, height, width) or (count, height, width, channels): either bytes, which are scaled to x / 255 - 0.5
// while they are read, or values, which are used unchanged. The other pointer is null.
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

// The results for each sample, in the samples' order. A null pointer means that nobody wants a result.
template <class T>
struct Results {
  T* outputs;             // (samples, nodes)
  double* losses;         // (samples,)
  bool* correct;          // (samples,), whether the label had the largest probability
  T* d_images = nullptr;  // (samples, pixels), the loss's gradient for the pixels as the first layer reads them

  Results from(Index first, int nodes) const noexcept {
    return {outputs != nullptr ? outputs + first * nodes : nullptr, losses != nullptr ? losses + first : nullptr,
            correct != nullptr ? correct + first : nullptr};
  }
};

// An optimizer's settings and memory. Each state is as long as all parameters together, in the order of their arrays.
template <class T>
struct Optimizer {
  std::variant<std::monostate, SgdSettings, AdamSettings> settings;  // monostate: plain gradient descent
  T *first_state, *second_state;                                     // velocity; or first and second moment
  std::int64_t* steps;  // the number of steps taken, updated with the states. May be null if settings are not Adam's
  // Follows the parameters after each step, in the order of their arrays, and after them the buffers; or null.
  T* average = nullptr;
};

// A window of training: the samples of some steps. Training may pause between windows.
template <class T>
struct Batches {
  const std::int64_t* order;  // (samples,), indices of images
  Loss<T> loss;               // with the samples' targets
  Index samples;
  Index batch_size;                        // samples in a step; the last step may have fewer
  const double* learn_rates;               // (steps(),)
  const double* maps;                      // (samples, 2, 3), how each image is resampled (stages/affine.hpp), or null
  double background;                       // the value of pixels outside a resampled image, as the first layer reads it
  std::uint64_t seed;                      // of the random numbers
  Index samples_before;                    // samples of this run's earlier windows; 0 in its first window
  const double* average_shares = nullptr;  // (steps(),), how much of a step's parameters goes into the average; or null

  bool moves_buffers = false;  // whether Network::gradient writes the buffers, as training does
  Ranks* ranks = nullptr;      // the processes that share each batch of training; or null

  Index steps() const noexcept { return samples / batch_size + (samples % batch_size != 0); }
  // The window of the steps from `step` to `end` - 1.
  Batches between(Index step, Index end, int nodes) const noexcept {
    const Index first = step * batch_size, last = end == steps() ? samples : end * batch_size;
    return {order + first,
            loss.from(first, nodes),
            last - first,
            batch_size,
            learn_rates != nullptr ? learn_rates + step : nullptr,
            maps != nullptr ? maps + 6 * first : nullptr,
            background,
            seed,
            samples_before + first,
            average_shares != nullptr ? average_shares + step : nullptr,
            moves_buffers,
            ranks};
  }
};

// Of some numbers, at least one.
template <class T>
ValueRange<T> range_of(const T* values, Index count, int threads);

// Fetches a sample into the cache while the sample before it is computed. The hardware cannot predict a shuffled order.
// Always inlined, because with -O2 GCC removes calls of a function that does nothing but fetch.
template <class T>
[[gnu::always_inline]] inline void prefetch(const Images<T>& images, Index sample, const Shape& shape) noexcept {
  const Index size = images.bytes != nullptr ? 1 : Index{sizeof(T)};
  const char* const image = images.bytes != nullptr ? reinterpret_cast<const char*>(images.bytes)
                                                    : reinterpret_cast<const char*>(images.values);
  const Index length = shape.count() * size;
  const char* const end = image + (sample + 1) * length;
  for (const char* line = end - length; line < end; line += 64) __builtin_prefetch(line);
}

// Gives a sample to the first stage, resampled if there is a map. The images must stay where they are until it has gone
// through the plan.
template <class T>
void load(Workspace<T>& workspace, const Images<T>& images, Index sample, const double* map, double background,
          const Shape& shape);

extern template ValueRange<float> range_of(const float*, Index, int);
extern template ValueRange<double> range_of(const double*, Index, int);
extern template void load(Workspace<float>&, const Images<float>&, Index, const double*, double, const Shape&);
extern template void load(Workspace<double>&, const Images<double>&, Index, const double*, double, const Shape&);

}  // namespace cnnx
