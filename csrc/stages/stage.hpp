// What a plan is made of: one layer or, in fused/, several that are computed as one.
//
// A stage is read-only once its plan is made, so that threads share it. What a thread computes is in a Pass.
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
  const std::uint8_t* bytes = nullptr;  // its pixels, if they are bytes and used as they are
  bool training = false;                // whether a backward pass will follow
  std::uint64_t key = 0;                // of its random numbers
};

// What a stage keeps from a sample's forward pass to its backward pass, and its scratch.
struct Memory {
  virtual ~Memory() = default;
};

// A stage's share of a sample's way through the plan, in one thread. Activations and gradients end in zeros up to a
// whole cache line.
template <class T>
struct Pass {
  T *input, *output;
  T *d_input, *d_output;
  bool is_first;  // nobody wants an image's gradient, and d_input may hold anything
  Memory* memory;
  const Sample* sample;
  PackedValues<T>* parameters;
};

// Several samples' ways through one stage.
template <class T>
using Passes = std::span<const Pass<T>* const>;

template <class T>
class Stage {
 public:
  explicit Stage(std::vector<std::shared_ptr<Packed<T>>> parameters = {}) : parameters_(std::move(parameters)) {}
  virtual ~Stage() = default;

  const std::vector<std::shared_ptr<Packed<T>>>& parameters() const noexcept { return parameters_; }
  virtual Index outputs() const = 0;
  // About how many multiplications a sample's forward pass takes.
  virtual Index work() const { return 0; }
  virtual std::unique_ptr<Memory> new_memory() const { return nullptr; }
  // Whether pixels and filters must be small (kernels/foreground.cpp, are_small).
  virtual bool needs_small() const { return false; }

  virtual void forward(const Pass<T>&) const = 0;

  // Sets d_input, unless the stage is first. Adds the parameters' gradient to `gradient`, where they have their
  // offsets.
  virtual void backward(const Pass<T>&, T* gradient) const = 0;

  // How many samples it takes at once, to read its weights once for all of them; and both passes for that many or
  // fewer.
  virtual int samples_at_once() const { return 1; }
  virtual void forward_block(const Passes<T>& passes) const {
    for (const auto* const pass : passes) forward(*pass);
  }
  virtual void backward_block(const Passes<T>& passes, T* gradient) const {
    for (const auto* const pass : passes) backward(*pass, gradient);
  }

  // The same, with a step of plain gradient descent on the packed parameters. `scratch` holds a gradient. A stage may
  // do better with one sweep that computes and applies it.
  virtual void backward_update(const Pass<T>& pass, T learn_rate, T* scratch) const {
    for (const auto& p : parameters_)
      std::memset(static_cast<void*>(scratch + p->offset), 0, sizeof(T) * static_cast<std::size_t>(p->size()));
    backward(pass, scratch);
    for (const auto& p : parameters_) {
      T *const gradient = scratch + p->offset, *const values = pass.parameters->of(*p);
      p->complete_gradient(gradient);
      kernels().sgd_update(values, gradient, learn_rate, p->size());
      p->derive(values, pass.parameters->derived_of(*p));
    }
  }

 protected:
  static const Kernels<T>& kernels() noexcept { return active_target().kernels<T>(); }

 private:
  std::vector<std::shared_ptr<Packed<T>>> parameters_;
};

template <class T>
using Stages = std::vector<std::unique_ptr<Stage<T>>>;

// What a fusion rule makes of the stages from some place on: a stage in place of the first `swallowed` of them, or
// none. The boundaries between them are read by nobody else, since a plan is a chain.
template <class T>
struct Fusion {
  std::unique_ptr<Stage<T>> stage;
  std::size_t swallowed = 0;
};

// The stage at a place, if there is one of that kind.
template <class Kind, class T>
const Kind* stage_at(const Stages<T>& stages, std::size_t place) {
  return place < stages.size() ? dynamic_cast<const Kind*>(stages[place].get()) : nullptr;
}

}  // namespace cnnx
