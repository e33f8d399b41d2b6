// The loss, the last stage of every plan. It has targets, a value and a gradient.
//
// A new loss is a struct beside those below, an entry in Loss, and a class in bind/losses.hpp. Its formulas are in a
// kernel.
#pragma once

#include <cstdint>
#include <variant>

#include "../kernels/dispatch.hpp"
#include "buffer.hpp"

namespace cnnx {

// What makes a network's outputs of the totals that its last plain stage computes: the softmax function, if the last
// layer is Softmax, and else nothing.
template <class T>
struct OutputFunction {
  int nodes = 0;
  bool is_softmax = false;

  void forward(T* outputs, const T* totals) const noexcept {
    if (is_softmax)
      active_target().kernels<T>().softmax_forward(outputs, totals, nodes);
    else
      copy(outputs, totals, nodes);
  }
  void backward(T* d_totals, const T* d_outputs, const T* totals) const noexcept {
    if (is_softmax)
      active_target().kernels<T>().softmax_backward(d_totals, d_outputs, totals, nodes);
    else
      copy(d_totals, d_outputs, nodes);
  }
};

// What the loss reads and writes for one sample; all arrays are (nodes,).
template <class T>
struct LossPass {
  const OutputFunction<T>& function;
  const T* totals;
  T* outputs;
  T* d_outputs;  // scratch
  T* d_totals;   // null if no backward pass follows
};

// What the outputs of some samples are compared with, in the samples' order.
template <class T>
struct Targets {
  const std::int32_t* labels = nullptr;  // (samples,), or null if there are rows
  const T* rows = nullptr;               // (samples, nodes), or null if there are labels
  const double* weights = nullptr;       // (samples,), which multiply loss and gradient; null if all are 1

  Targets from(Index first, int nodes) const noexcept {
    return {labels != nullptr ? labels + first : nullptr, rows != nullptr ? rows + first * nodes : nullptr,
            weights != nullptr ? weights + first : nullptr};
  }
};

// The cross-entropy of probabilities p = softmax(totals), for labels or for rows of probabilities. kernels/softmax.cpp
// has the formulas. (The article's Part 2, section 3.)
struct CrossEntropy {
  template <class T>
  Outcome operator()(const LossPass<T>& pass, const Targets<T>& targets, Index sample) const noexcept {
    const auto& k = active_target().kernels<T>();
    const int nodes = pass.function.nodes;
    if (targets.rows != nullptr)
      return k.softmax_loss_of_row(pass.outputs, pass.d_totals, pass.totals, targets.rows + sample * nodes, nodes);
    return k.softmax_loss(pass.outputs, pass.d_totals, pass.totals, targets.labels[sample], nodes);
  }
};

// The mean of the squared differences between outputs and rows. kernels/losses.cpp has the formulas.
struct MeanSquaredError {
  template <class T>
  Outcome operator()(const LossPass<T>& pass, const Targets<T>& targets, Index sample) const noexcept {
    const int nodes = pass.function.nodes;
    pass.function.forward(pass.outputs, pass.totals);
    const double loss = active_target().kernels<T>().mean_squared_error(pass.d_outputs, pass.outputs,
                                                                        targets.rows + sample * nodes, nodes);
    if (pass.d_totals != nullptr) pass.function.backward(pass.d_totals, pass.d_outputs, pass.totals);
    return {loss, false};
  }
};

// A loss that somebody else computes: the rows are its gradients for the outputs. Its value is unknown here.
struct GivenGradient {
  template <class T>
  Outcome operator()(const LossPass<T>& pass, const Targets<T>& targets, Index sample) const noexcept {
    const T* const d_outputs = targets.rows + sample * pass.function.nodes;
    if (pass.d_totals != nullptr) pass.function.backward(pass.d_totals, d_outputs, pass.totals);
    return {0, false};
  }
};

// No loss: only the outputs are computed, and there is no backward pass.
struct OutputsOnly {
  template <class T>
  Outcome operator()(const LossPass<T>& pass, const Targets<T>&, Index) const noexcept {
    pass.function.forward(pass.outputs, pass.totals);
    return {0, false};
  }
};

template <class T>
struct Loss {
  std::variant<CrossEntropy, MeanSquaredError, GivenGradient, OutputsOnly> kind;
  Targets<T> targets;

  Loss from(Index first, int nodes) const noexcept { return {kind, targets.from(first, nodes)}; }
  bool has_gradient() const noexcept { return !std::holds_alternative<OutputsOnly>(kind); }
  // Whether a batch's gradient is the mean of its samples' gradients. If the gradients are given, it is their sum.
  bool is_mean() const noexcept { return !std::holds_alternative<GivenGradient>(kind); }

  // Sets the outputs of a sample and, if they are wanted, the gradients. `correct` is whether the label had the largest
  // probability; a loss without classes leaves it false.
  Outcome operator()(const LossPass<T>& pass, Index sample) const noexcept {
    Outcome outcome = std::visit([&](const auto& loss) { return loss(pass, targets, sample); }, kind);
    if (targets.weights != nullptr) {
      const double weight = targets.weights[sample];
      outcome.loss *= weight;
      if (pass.d_totals != nullptr)
        active_target().kernels<T>().scale(pass.d_totals, static_cast<T>(weight), pass.function.nodes);
    }
    return outcome;
  }
};

}  // namespace cnnx
