// From layers to stages. Each layer is lowered to a plain stage, and then fusion rules replace neighbouring stages by
// one. The article's network, for example:
//
//   layers         Conv3x3         MaxPool2         Softmax
//   plain stages   Conv3x3Stage    MaxPool2Stage    DenseStage    and the loss
//   fused          ConvPoolDenseStage                             and the loss
#pragma once

#include "layers.hpp"
#include "stages/loss.hpp"
#include "stages/stage.hpp"

namespace cnnx {

// The most samples that any stage takes at once.
inline constexpr std::size_t most_at_once = dense_block;

template <class T>
struct Workspace;

template <class T>
class Plan {
 public:
  // Throws std::invalid_argument if the layers do not fit together. Without `fuse`, each layer is a stage of its own,
  // and the plan is right for every input. A fused plan requires small pixels and filters if needs_small() is true.
  Plan(const std::vector<Layer<T>>& layers, const Shape& image, bool fuse);

  const Shape& image() const noexcept { return image_; }
  const Stages<T>& stages() const noexcept { return stages_; }
  const SoftmaxCrossEntropy<T>& loss() const noexcept { return loss_; }
  bool needs_small() const noexcept { return needs_small_; }

  // The parameters of all layers, each once. They know where they begin in PackedValues.
  const std::vector<std::shared_ptr<Packed<T>>>& parameters() const noexcept { return parameters_; }
  Index parameter_count() const noexcept { return parameter_count_; }
  bool has_ties() const noexcept { return has_ties_; }  // whether a layer with parameters is used more than once
  Index packed_size() const noexcept { return packed_size_; }
  Index work() const noexcept { return work_; }

  PackedValues<T> new_values() const { return {new_buffer<T>(packed_size_), new_buffer<T>(derived_size_)}; }
  // Packs all parameters from the caller's arrays, and derives what follows from them.
  void pack(PackedValues<T>& values) const;
  void derive(PackedValues<T>& values) const;
  // How many samples go through the plan at once.
  int samples_at_once() const noexcept { return samples_at_once_; }
  // Both passes for that many samples or fewer. `backward` adds to `gradient`, which is laid out like packed
  // parameters.
  void forward(std::span<const std::unique_ptr<Workspace<T>>> samples) const;
  void backward(std::span<const std::unique_ptr<Workspace<T>>> samples, T* gradient) const;

  // Writes the parameters to the caller's arrays.
  void unpack(const PackedValues<T>& values) const;

 private:
  void choose_samples_at_once();

  Shape image_;
  Stages<T> stages_;
  SoftmaxCrossEntropy<T> loss_;
  std::vector<std::shared_ptr<Packed<T>>> parameters_;
  int samples_at_once_ = 1;
  std::size_t first_at_once_ = 0;  // the first stage that takes them at once; earlier ones take one after the other
  Index parameter_count_ = 0, packed_size_ = 0, derived_size_ = 0, work_ = 0;
  bool has_ties_ = false, needs_small_ = false;
};

// The memory in which a thread computes one sample.
template <class T>
struct Workspace {
  Workspace(const Plan<T>& plan, PackedValues<T>& parameters);

  Sample sample;
  std::vector<Buffer<T>> values, gradients;  // one for each boundary between stages
  std::vector<std::unique_ptr<Memory>> memory;
  std::vector<Pass<T>> passes;  // one for each stage
  Buffer<T> probabilities;
  Buffer<T> source;                   // a sample before it is resampled
  std::vector<std::uint8_t> shifted;  // a sample's bytes, shifted by whole pixels
};

extern template class Plan<float>;
extern template class Plan<double>;
extern template struct Workspace<float>;
extern template struct Workspace<double>;

}  // namespace cnnx
