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

#include "kernels.hpp"

namespace cnnx {

// The layers as Python has them: what they are, and their parameters in numpy's arrays.
template <class T>
struct Conv3x3Layer {
  T* filters;  // (count, 3, 3)
  int count;
};
struct MaxPool2Layer {
  Ties ties;
};
template <class T>
struct SoftmaxLayer {
  T *weights, *biases;  // (inputs, nodes), (nodes,)
  DenseShape shape;
};
template <class T>
using Layer = std::variant<Conv3x3Layer<T>, MaxPool2Layer, SoftmaxLayer<T>>;

// Images (count, height, width), one of the two: bytes, read as x / 255 - 0.5, or values, read as they are.
template <class T>
struct Images {
  const std::uint8_t* bytes;
  const T* values;
  Index count;
};

// What there is to know of each sample or step; any pointer may be null.
template <class T>
struct Results {
  T* probabilities;  // (samples, nodes)
  double* losses;    // (samples,)
  bool* correct;     // (samples,)
};

template <class T>
class Stage;
template <class T>
struct Workspace;

template <class T>
class Network {
 public:
  // Throws std::invalid_argument if the layers do not fit together: one or no Conv3x3 first, then any MaxPool2, then
  // one Softmax.
  Network(const std::vector<Layer<T>>& layers, int height, int width);
  ~Network();

  int height() const noexcept { return height_; }
  int width() const noexcept { return width_; }
  int nodes() const noexcept { return nodes_; }

  // A step of gradient descent for each of the `steps` samples that `order` names, one after the other.
  void train(const Images<T>& images, const std::int32_t* labels, const std::int64_t* order, Index steps, T learn_rate,
             const Results<T>& results);

  // The forward pass of every image; losses and correct need labels. Each thread takes a run of images, so their
  // number changes no result.
  void predict(const Images<T>& images, const std::int32_t* labels, int threads, const Results<T>& results);

 private:
  void load(Workspace<T>&, const Images<T>&, Index sample) const;
  Outcome outcome(Workspace<T>&, int label) const;
  Workspace<T>& workspace(std::size_t thread);

  int height_, width_, nodes_;
  std::vector<std::unique_ptr<Stage<T>>> stages_;
  std::vector<std::unique_ptr<Workspace<T>>> workspaces_;
};

extern template class Network<float>;
extern template class Network<double>;

}  // namespace cnnx
