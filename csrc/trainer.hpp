// Training: steps over batches of samples, on packed parameters.
#pragma once

#include <array>

#include "samples.hpp"
#include "threads.hpp"

namespace cnnx {

template <class T>
class Trainer {
 public:
  // With `wants_d_images`, `gradient` may compute the images' gradients; the plan must not be fused.
  explicit Trainer(const Plan<T>& plan, bool wants_d_images = false)
      : plan_(plan), parameters_(plan.new_values()), wants_d_images_(wants_d_images) {
    parameters_.for_backward = true;
  }

  // Takes a step for each batch, with the mean of its samples' gradients. Throws std::invalid_argument if a batch is
  // smaller than the plan's least_batch. Locks `writing` while it writes the caller's
  // arrays. The number of threads changes no result, and neither does that of ranks. What these throw leaves the
  // caller's parameters as they were.
  void train(const Images<T>& images, const Batches<T>& batches, const Optimizer<T>& optimizer, int threads,
             const Results<T>& results, SharedMutex& writing);

  // Makes the next window pack the parameters again.
  void forget() noexcept { has_seen_ = false; }

  // The packed parameters that the next window continues with, if unpacking may have rounded them, and how many steps
  // were taken since they were packed. `hold` gives them to another trainer whose caller has the same arrays. It throws
  // std::invalid_argument if the parameters are not those of the arrays, for example if they have another layout.
  std::vector<T> held() const;
  Index steps_held() const noexcept { return steps_; }
  void hold(const std::vector<T>& packed, Index steps);

  // Sets `flat` to the gradient of one batch, in the order of the parameters' arrays. Changes no parameters.
  void gradient(const Images<T>& images, const Batches<T>& batch, int threads, T* flat, const Results<T>& results);
  // Writes the buffers, for example running statistics, that the last `gradient` has moved.
  void write_buffers() const { plan_.write_buffers(parameters_); }
  // Computes the outputs of one batch as in training.
  void forward(const Images<T>& images, const Batches<T>& batch, int threads, const Results<T>& results);

 private:
  struct Run;  // the arguments of one call

  static constexpr Index steps_a_derivation = 1024;  // few enough to limit rounding errors, enough to cost little time

  void check(const Batches<T>& batches) const;
  bool can_go_by_parts(Index samples) const noexcept;
  // Makes all memory for batches of `samples`. Returns how many of the threads such a batch keeps busy.
  int make_memory(Index samples, int threads, const Ranks* ranks = nullptr);
  void take_parameters();
  bool are_as_seen() const noexcept;
  void see();

  void step_sample_by_sample(const Run& run);
  void step_batch_by_batch(const Run& run, int threads, const Optimizer<T>* optimizer);
  void step_part_by_part(const Run& run, int threads, const Optimizer<T>* optimizer);
  // The part of a step in which samples first meet a segment: forward, and in the last segment also back.
  void go_forward(Workspaces<T> block, const Run& run, Index first, std::size_t segment, T* gradient) const;
  void go_back(Workspaces<T> block, const Run& run, Index first, std::size_t segment, T* gradient) const;
  bool goes_by_parts() const noexcept { return has_gradient_parts && goes_by_parts_; }
  bool keeps_samples() const noexcept { return goes_by_parts() || plan_.segments() > 1; }
  Workspaces<T> block(int thread, Index in_batch, Index count) const noexcept;
  void load_samples(Workspaces<T> block, const Run& run, Index first) const;
  void take_losses(Workspaces<T> block, const Run& run, Index first) const;
  MetBatch<T> met(const ShardedBatch& batch);
  void meet_forward(std::size_t segment, const ShardedBatch& batch, Ranks* ranks);
  void meet_backward(std::size_t segment, const ShardedBatch& batch, Ranks* ranks);
  T* cleared_gradient(Index shard) noexcept;
  void add_shards(const ShardedBatch& batch, const Batches<T>& batches, Index at, Index count) const;
  void complete_gradient(const ShardedBatch& batch, const Batches<T>& batches);
  void update(const Optimizer<T>& optimizer, const Batches<T>& batches, Index step, Index at, Index count,
              const T* others);
  void finish_update(const Optimizer<T>& optimizer, const Batches<T>& batches, Index step);

  const Plan<T>& plan_;
  PackedValues<T> parameters_;
  bool wants_d_images_;
  bool goes_by_parts_ = false;  // whether the batches of this call get their gradient part by part
  // Each sample of a batch has one if threads meet before it is done. Otherwise each thread has as many as samples go
  // through at once.
  std::vector<std::unique_ptr<Workspace<T>>> workspaces_;
  std::vector<std::unique_ptr<Scratch<T>>> scratches_;  // one for each thread
  std::vector<Buffer<T>> desks_;                        // the same
  Buffer<T> shards_;                  // the gradients of a batch's shards; the first then gets their mean
  T* gradients_[most_shards] = {};    // pointers to them
  bool are_clear_[most_shards] = {};  // which of them are 0, except for frozen parameters, whose gradient nobody reads
  Buffer<T> first_state_, second_state_, average_;
  std::vector<T> seen_;  // a copy of the caller's parameters from when they were last read or written
  bool has_seen_ = false;
  Index steps_ = 0;  // steps sample by sample since the parameters were packed
};

// The number of shards that a batch is cut into.
template <class T>
Index shards_of(const Plan<T>& plan, Index samples) noexcept;

// Some parameters in an array of the caller's. They begin at `at` in the flat array of all parameters.
template <class T>
struct Trained {
  T* values;
  Index at, count;
};

// Takes one step with a given gradient, in the caller's own arrays. `gradient` is in the order of these arrays.
template <class T>
void apply(std::span<const Trained<T>> parts, const T* gradient, const Optimizer<T>& optimizer, double learn_rate);

// The same for all parameters of a plan that are not frozen.
template <class T>
void apply(const Plan<T>& plan, const T* gradient, const Optimizer<T>& optimizer, double learn_rate);

extern template class Trainer<float>;
extern template class Trainer<double>;
extern template Index shards_of(const Plan<float>&, Index) noexcept;
extern template Index shards_of(const Plan<double>&, Index) noexcept;
extern template void apply(std::span<const Trained<float>>, const float*, const Optimizer<float>&, double);
extern template void apply(std::span<const Trained<double>>, const double*, const Optimizer<double>&, double);
extern template void apply(const Plan<float>&, const float*, const Optimizer<float>&, double);
extern template void apply(const Plan<double>&, const double*, const Optimizer<double>&, double);

}  // namespace cnnx
