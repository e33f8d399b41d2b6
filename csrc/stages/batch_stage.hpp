// A stage that needs statistics of the whole batch. It begins a segment of the plan (plan.hpp).
//
// In training, its forward pass is in three parts: look_at_input for each sample, meet_forward once, and forward for
// each sample. So is its backward pass: look_at_gradient for each sample, meet_backward once, and backward for each.
// Elsewhere there is only forward, which then uses statistics of its own.
#pragma once

#include "stage.hpp"

namespace cnnx {

// A batch when all threads meet: its samples, and the gradients of its shards, which are laid out like packed
// parameters.
template <class T>
struct MetBatch {
  ShardedBatch samples;
  T* const* gradients;
  PackedValues<T>& parameters;
};

template <class T>
class BatchStage : public Stage<T> {
 public:
  using Stage<T>::Stage;

  // How many numbers each sample leaves for meet_forward, in PackedValues::statistics.
  virtual Index statistics_size() const = 0;
  // How many values of a channel one sample has.
  virtual Index values_of_a_channel() const = 0;
  // The stage's parameters, and where they keep what the threads share.
  virtual const Packed<T>& packed() const = 0;

  virtual void look_at_input(const Pass<T>&) const = 0;
  virtual void meet_forward(const MetBatch<T>&) const = 0;

  // Adds the gradient of the stage's parameters to `gradient`, as Stage::backward does elsewhere.
  virtual void look_at_gradient(const Pass<T>&, T* gradient) const = 0;
  virtual void meet_backward(const MetBatch<T>&) const = 0;

  // Sets where the stage's statistics begin in a sample's row of PackedValues::statistics. The plan does this.
  virtual void put_statistics(Index offset) { statistics_offset_ = offset; }
  Index statistics_offset() const noexcept { return statistics_offset_; }

 protected:
  T* statistics_of(const Pass<T>& pass) const noexcept {
    return pass.parameters->statistics_of(pass.sample->in_batch) + statistics_offset_;
  }

 private:
  Index statistics_offset_ = 0;
};

}  // namespace cnnx
