// The loss, the last stage of every plan. It has targets, a value and a gradient.
#pragma once

#include "../kernels/dispatch.hpp"
#include "buffer.hpp"

namespace cnnx {

// Softmax and cross-entropy (the article's Part 2, section 3), on totals (nodes,) and probabilities p (nodes,):
//
//   p = softmax(totals),   loss = -ln p[label],   d_totals[n] = p[n] - (n == label ? 1 : 0)
template <class T>
class SoftmaxCrossEntropy {
 public:
  explicit SoftmaxCrossEntropy(int nodes = 0) : nodes_(nodes) {}

  int nodes() const noexcept { return nodes_; }
  Outcome value(T* probabilities, const T* totals, int label) const noexcept {
    return active_target().kernels<T>().softmax_loss(probabilities, totals, label, nodes_);
  }
  void gradient(T* d_totals, const T* probabilities, int label) const noexcept {
    copy(d_totals, probabilities, nodes_);
    d_totals[label] -= 1;
  }

 private:
  int nodes_;
};

}  // namespace cnnx
