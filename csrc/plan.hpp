// From layers to stages: every layer is lowered to a plain stage, and fusion rules replace runs of them.
#pragma once

#include "layers.hpp"
#include "stages/loss.hpp"
#include "stages/stage.hpp"

namespace cnnx {

// No stage takes more samples at once.
inline constexpr std::size_t most_at_once = dense_block;

template <class T>
struct Workspace;

template <class T>
class Plan {
 public:
  // Throws std::invalid_argument if the layers do not fit together. Without fusion every layer is a stage of its own,
  // which is right for every input; fused stages need small numbers where `needs_small` says so.
  Plan(const std::vector<Layer<T>>& layers, const Shape& image, bool fuse);

  const Shape& image() const noexcept { return image_; }
  const Stages<T>& stages() const noexcept { return stages_; }
  const SoftmaxCrossEntropy<T>& loss() const noexcept { return loss_; }
  bool needs_small() const noexcept { return needs_small_; }

  // Every layer's parameters once, with their places among all packed numbers.
  const std::vector<std::shared_ptr<Packed<T>>>& parameters() const noexcept { return parameters_; }
  Index parameter_count() const noexcept { return parameter_count_; }
  bool has_ties() const noexcept { return has_ties_; }  // a layer that is there more than once
  Index packed_size() const noexcept { return packed_size_; }
  Index work() const noexcept { return work_; }

  PackedValues<T> new_values() const { return {new_buffer<T>(packed_size_), new_buffer<T>(derived_size_)}; }
  // Takes all parameters from the caller's arrays.
  void pack(PackedValues<T>& values) const;
  void derive(PackedValues<T>& values) const;
  // How many samples go through at once.
  int samples_at_once() const noexcept { return samples_at_once_; }
  // Both passes for so many samples or fewer.
  void forward(std::span<const std::unique_ptr<Workspace<T>>> samples) const;
  void backward(std::span<const std::unique_ptr<Workspace<T>>> samples, T* gradient) const;

  // Gives them back.
  void unpack(const PackedValues<T>& values) const;

 private:
  void choose_samples_at_once();

  Shape image_;
  Stages<T> stages_;
  SoftmaxCrossEntropy<T> loss_;
  std::vector<std::shared_ptr<Packed<T>>> parameters_;
  int samples_at_once_ = 1;
  std::size_t first_at_once_ = 0;  // the first stage that gains by it; those before it take a sample after the other
  Index parameter_count_ = 0, packed_size_ = 0, derived_size_ = 0, work_ = 0;
  bool has_ties_ = false, needs_small_ = false;
};

// What one thread computes for one sample.
template <class T>
struct Workspace {
  Workspace(const Plan<T>& plan, PackedValues<T>& parameters);

  Sample sample;
  std::vector<Buffer<T>> values, gradients;  // one for each boundary between stages
  std::vector<std::unique_ptr<Memory>> memory;
  std::vector<Pass<T>> passes;  // one for each stage
  Buffer<T> probabilities;
  Buffer<T> source;                   // a sample before it is resampled
  std::vector<std::uint8_t> shifted;  // its bytes after a shift
};

extern template class Plan<float>;
extern template class Plan<double>;
extern template struct Workspace<float>;
extern template struct Workspace<double>;

}  // namespace cnnx
