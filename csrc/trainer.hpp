// Training: steps over batches of samples, on packed parameters.
#pragma once

#include <array>

#include "samples.hpp"
#include "threads.hpp"

namespace cnnx {

template <class T>
class Trainer {
 public:
  explicit Trainer(const Plan<T>& plan) : plan_(plan), parameters_(plan.new_values()) {}

  // A step for each batch, on the mean of its samples' gradients. Holds `writing` while it writes the caller's arrays.
  // The number of threads changes no result.
  void train(const Images<T>& images, const Batches& batches, const Optimizer<T>& optimizer, int threads,
             const Results<T>& results, SharedMutex& writing);

  // Has the next window take the parameters anew.
  void forget() noexcept { has_seen_ = false; }

  // The mean gradient of the one batch, in the order of the parameters' arrays, which stay as they are.
  void gradient(const Images<T>& images, const Batches& batch, int threads, T* flat, const Results<T>& results);

 private:
  struct Run;  // of one call

  static constexpr Index most_shards = 8;
  static constexpr Index steps_a_derivation = 1024;  // often enough for rounding, seldom enough for time

  Index shards_of(Index samples) const noexcept;
  // For a batch of so many samples. Returns how many of the threads it keeps busy.
  int make_memory(Index samples, int threads);
  void take_parameters();
  bool are_as_seen() const noexcept;
  void see();

  void step_sample_by_sample(const Run& run);
  template <class Update>
  void step_batch_by_batch(const Run& run, int threads, const Update& update);
  void forward(std::span<const std::unique_ptr<Workspace<T>>> block, const Run& run, Index first) const;
  void finish_gradient(Index samples, Index shards) const;
  void update(const Optimizer<T>& optimizer, T learn_rate, Index step);

  const Plan<T>& plan_;
  PackedValues<T> parameters_;
  std::vector<std::unique_ptr<Workspace<T>>> workspaces_;  // for each thread as many as go through at once
  std::vector<Buffer<T>> shards_;  // gradients of parts of a batch; in the end the first has the mean
  Buffer<T> first_state_, second_state_;
  std::vector<T> seen_;  // the caller's parameters when they were read or written last
  bool has_seen_ = false;
  Index steps_ = 0;  // sample by sample, since the parameters were taken
};

// A step on a gradient that is there already, in the caller's own arrays.
template <class T>
void apply(const Plan<T>& plan, const T* gradient, const Optimizer<T>& optimizer, double learn_rate);

extern template class Trainer<float>;
extern template class Trainer<double>;
extern template void apply(const Plan<float>&, const float*, const Optimizer<float>&, double);
extern template void apply(const Plan<double>&, const double*, const Optimizer<double>&, double);

}  // namespace cnnx
