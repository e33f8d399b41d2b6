// A plan of layers over borrowed parameters, its workspaces, and the loops over many samples.
//
// The plan holds what all threads share: shapes, pointers to numpy's parameters, and those parameters packed for the
// length of one call. A workspace holds what one thread computes: activations, gradients, scratch. A sample goes
// through the whole network before the next one starts, so that all of it stays in cache.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "kernels/kernels.hpp"

namespace cnnx {

// A run of numbers in one of numpy's arrays.
template <class T>
struct Slice {
  T* data;
  Index count;
};

// The layers as Python has them: what they are, and their parameters in numpy's arrays.
template <class T>
struct Conv3x3Layer {
  T *filters, *biases;  // (count, 3, 3, channels), (count,) or null
  int count, channels;
  bool same;  // a ring of zeros around the input keeps its size

  Index filters_size() const { return Index{9} * count * channels; }
  // Where the biases are if filters and biases stand behind each other.
  T* biases_of(T* flat) const { return biases != nullptr ? flat + filters_size() : nullptr; }
  std::vector<Slice<T>> parameters() const {
    if (biases == nullptr) return {{filters, filters_size()}};
    return {{filters, filters_size()}, {biases, count}};
  }
};
struct MaxPool2Layer {
  Ties ties;
};
struct ReLULayer {};
struct DropoutLayer {
  double rate;
};
template <class T>
struct DenseLayer {
  T *weights, *biases;  // (inputs, nodes), (nodes,)
  DenseShape shape;     // of one row
  bool softmax;         // the last layer, and it alone, ends in probabilities
};
template <class T>
using Layer = std::variant<Conv3x3Layer<T>, MaxPool2Layer, ReLULayer, DropoutLayer, DenseLayer<T>>;

// Images (count, height, width), one of the two: bytes, read as x / 255 - 0.5, or values, read as they are.
template <class T>
struct Images {
  const std::uint8_t* bytes;
  const T* values;
  Index count;
};

// What there is to know of each sample, in their order; any pointer may be null.
template <class T>
struct Results {
  T* probabilities;  // (samples, nodes)
  double* losses;    // (samples,)
  bool* correct;     // (samples,)
};

// How parameters follow their gradient. The states are as long as all parameters together.
template <class T>
struct Optimizer {
  std::variant<std::monostate, SgdSettings, AdamSettings> settings;  // none: plain gradient descent
  T *first_state, *second_state;                                     // velocity; or first and second moment
  Index steps_before;
};

// The samples of some steps of training.
struct Batches {
  const std::int64_t* order;  // (samples,), indices of images
  Index samples;
  Index batch_size;           // samples a step; the last step may have fewer
  const double* learn_rates;  // one a step
  const double* maps;         // (samples, 2, 3), how each image is resampled, or null
  std::uint64_t seed;         // of the random numbers
  Index samples_before;       // how many samples this run of training has served

  Index steps() const noexcept { return (samples + batch_size - 1) / batch_size; }
};

// Mixes a number into a key (splitmix64 by S. Vigna).
inline std::uint64_t random_key(std::uint64_t key, std::uint64_t number) noexcept {
  std::uint64_t z = key + (number + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

template <class T>
class Stage;
template <class T>
struct Workspace;
template <class T>
struct Gradients;
template <class T>
class Trainer;

template <class T>
class Network {
 public:
  // Throws std::invalid_argument if the layers do not fit together.
  Network(const std::vector<Layer<T>>& layers, int height, int width);
  ~Network();

  int height() const noexcept { return height_; }
  int width() const noexcept { return width_; }
  int nodes() const noexcept { return nodes_; }
  Index parameter_count() const noexcept { return parameter_count_; }

  // A step of training for each batch, on the mean of its samples' gradients. The number of threads changes no result.
  void train(const Images<T>& images, const std::int32_t* labels, const Batches& batches, const Optimizer<T>& optimizer,
             int threads, const Results<T>& results);

  // The mean gradient of the one batch, in the order of the parameters' arrays, which stay as they are.
  void gradient(const Images<T>& images, const std::int32_t* labels, const Batches& batch, int threads, T* flat,
                const Results<T>& results);

  // A step on a gradient that is there already.
  void apply(const T* flat, const Optimizer<T>& optimizer, double learn_rate);

  // The forward pass of every image; losses and correct need labels. Images do not depend on each other, so the
  // number of threads changes no result.
  void predict(const Images<T>& images, const std::int32_t* labels, int threads, const Results<T>& results);

 private:
  friend class Trainer<T>;

  void pack(Index samples, bool training);
  void prefetch(const Images<T>&, Index sample) const;
  void load(Workspace<T>&, const Images<T>&, Index sample, const double* map) const;
  Workspace<T>& workspace(std::size_t thread);
  Outcome outcome(Workspace<T>&, int label) const;

  int height_, width_, nodes_ = 0;
  Index parameter_count_ = 0;
  std::vector<std::unique_ptr<Stage<T>>> stages_;
  std::vector<std::unique_ptr<Workspace<T>>> workspaces_;
  std::unique_ptr<Gradients<T>> gradients_;
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace cnnx
