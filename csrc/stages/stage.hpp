// A plan consists of stages. A stage computes one layer or, in fused/, several layers at once.
//
// Stages are read-only after the plan is made, so threads share them. A Pass points to what a thread computes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "packed.hpp"

namespace cnnx {

// Mixes a number into a key (splitmix64 by S. Vigna).
inline std::uint64_t random_key(std::uint64_t key, std::uint64_t number) noexcept {
  std::uint64_t z = key + (number + 1) * 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

// The sample that a thread works on.
struct Sample {
  const std::uint8_t* bytes = nullptr;  // its pixels as bytes, if the first stage's input is scaled from bytes
  bool training = false;                // whether a backward pass will follow
  std::uint64_t key = 0;                // the seed of its random numbers
  Index in_batch = 0;                   // its position in its batch
};

// A stage's memory: what it keeps from a sample's forward pass to its backward pass, or its scratch.
struct Memory {
  virtual ~Memory() = default;
};

// What one stage reads and writes for one sample. Activations and gradients are padded with zeros to whole cache lines.
template <class T>
struct Pass {
  const T* input;
  T* output;
  T *d_input, *d_output;
  bool is_first;    // backward passes end here: the input's gradient is not needed, and d_input may hold anything
  Memory* memory;   // the sample's
  Memory* scratch;  // the thread's
  const Sample* sample;
  PackedValues<T>* parameters;
  T* desk = nullptr;  // the thread's: memory that every stage may overwrite
};

// The passes of several samples through one stage.
template <class T>
using Passes = std::span<const Pass<T>* const>;

template <class T>
class Stage {
 public:
  explicit Stage(std::vector<std::shared_ptr<Packed<T>>> parameters = {})
      : parameters_(std::move(parameters)), is_frozen_(!parameters_.empty() && parameters_.front()->frozen) {}
  virtual ~Stage() = default;

  const std::vector<std::shared_ptr<Packed<T>>>& parameters() const noexcept { return parameters_; }
  virtual Index outputs() const = 0;
  // About how many multiplications a sample's forward pass takes.
  virtual Index work() const { return 0; }
  // What a sample keeps from its forward pass to its backward pass, and what only a backward pass needs.
  virtual std::unique_ptr<Memory> new_memory() const { return nullptr; }
  virtual std::unique_ptr<Memory> new_scratch() const { return nullptr; }
  // How many numbers the stage writes to the desk.
  virtual Index desk_size() const { return 0; }
  // Whether pixels and filters must be small (kernels/foreground.cpp, are_small).
  virtual bool needs_small() const { return false; }

  virtual void forward(const Pass<T>&) const = 0;

  // Sets d_input, unless the stage is first. Adds the gradient of the stage's parameters to `gradient`, at their
  // offsets. It may overwrite d_output.
  virtual void backward(const Pass<T>&, T* gradient) const = 0;

  // How many samples the stage takes at once, to read its weights once for all of them. The next two functions are both
  // passes for that many samples or fewer.
  virtual int samples_at_once() const { return 1; }
  virtual void forward_block(const Passes<T>& passes) const {
    for (const auto* const pass : passes) forward(*pass);
  }
  virtual void backward_block(const Passes<T>& passes, T* gradient) const {
    for (const auto* const pass : passes) backward(*pass, gradient);
  }

  // A stage may compute its parameters' gradient from a whole batch. Then all samples go back first, with a null
  // `gradient`, and keep the stage's input and d_output. Threads share the parts. Each call sets one of them in
  // `gradient`, to the factor times the sum over the batch's shards, with the same bits as otherwise. It returns which
  // packed numbers these are. Without parts, a stage needs a gradient to add to.
  virtual int gradient_parts() const { return 0; }
  virtual Range set_gradient([[maybe_unused]] int part, const Passes<T>&, const ShardedBatch&,
                             [[maybe_unused]] T factor, [[maybe_unused]] T* gradient) const {
    return {0, 0};
  }

  // Whether the stage has parameters and training leaves them as they are. All parameters of a stage are frozen, or
  // none.
  bool is_frozen() const noexcept { return is_frozen_; }

  // The backward pass, and a step of plain gradient descent on the packed parameters. `scratch` has room for the
  // gradient of all parameters. The stage's own part of it is 0 before and after the call. A stage may override this
  // with one sweep that computes and applies its gradient, to be faster.
  virtual void backward_update(const Pass<T>& pass, T learn_rate, T* scratch) const {
    backward(pass, scratch);
    for (const auto& p : parameters_) {
      T *const gradient = scratch + p->offset, *const values = pass.parameters->of(*p);
      p->complete_gradient(gradient);
      kernels().sgd_update(values, gradient, learn_rate, p->size(), nullptr);
      pass.parameters->derive(*p);
    }
  }

 protected:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }

 private:
  std::vector<std::shared_ptr<Packed<T>>> parameters_;
  bool is_frozen_;
};

template <class T>
using Stages = std::vector<std::unique_ptr<Stage<T>>>;

// What a fusion rule returns for the stages from some position on: a stage that replaces the first `swallowed` of them,
// or null. No other stage reads the values between them, because a plan is a chain.
template <class T>
struct Fusion {
  std::unique_ptr<Stage<T>> stage;
  std::size_t swallowed = 0;
};

// The stage at a position if it is of that kind, or null.
template <class Kind, class T>
const Kind* stage_at(const Stages<T>& stages, std::size_t at) {
  return at < stages.size() ? dynamic_cast<const Kind*>(stages[at].get()) : nullptr;
}

}  // namespace cnnx
