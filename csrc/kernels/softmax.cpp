// The softmax function and the cross-entropy loss (the article's Part 1, section 5, and Part 2, section 3):
//
//   probabilities[n] = exp(totals[n] - max) / sum over m of exp(totals[m] - max)
//
// Subtracting the maximum changes nothing in exact arithmetic and keeps exp from overflowing.
#include "../simd/tiles.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

inline float exponential(float x) {
  return __builtin_expf(x);
}
[[maybe_unused]] inline double exponential(double x) {
  return __builtin_exp(x);
}
inline float logarithm(float x) {
  return __builtin_logf(x);
}
[[maybe_unused]] inline double logarithm(double x) {
  return __builtin_log(x);
}

// The largest total, and the sum of exp(totals - largest).
template <class T>
struct Exponentials {
  T largest, sum;
};

template <class T>
Exponentials<T> exponentials(T* exps, const T* totals, int nodes) {
  Exponentials<T> e{totals[0], 0};
  for (int n = 1; n < nodes; ++n) e.largest = totals[n] > e.largest ? totals[n] : e.largest;
  // Two loops, because in one the sum would have to be kept in memory during the calls of exp.
  for (int n = 0; n < nodes; ++n) exps[n] = exponential(totals[n] - e.largest);
  for (int n = 0; n < nodes; ++n) e.sum += exps[n];
  return e;
}

template <class T>
void softmax_forward(T* probabilities, const T* totals, int nodes) noexcept {
  const auto e = exponentials(probabilities, totals, nodes);
  for (int n = 0; n < nodes; ++n) probabilities[n] /= e.sum;
}

// The full Jacobian:  d_totals[n] = p[n] * (d_p[n] - sum over m of d_p[m] * p[m])  where p = softmax(totals).
template <class T>
void softmax_backward(T* d_totals, const T* d_probabilities, const T* totals, int nodes) noexcept {
  softmax_forward(d_totals, totals, nodes);
  T mean = 0;
  for (int n = 0; n < nodes; ++n) mean = fused(d_probabilities[n], d_totals[n], mean);
  for (int n = 0; n < nodes; ++n) d_totals[n] *= d_probabilities[n] - mean;
}

// The loss  -ln p[label] = ln(sum of exps) - (totals[label] - max),  and whether the label is the first of the classes
// with the largest probability. Sets p = softmax(totals) and, unless d_totals is null, the loss's gradient, which is p with
// 1 less for the label.
template <class T>
Outcome softmax_loss(T* probabilities, T* d_totals, const T* totals, int label, int nodes) noexcept {
  const auto e = exponentials(probabilities, totals, nodes);
  for (int n = 0; n < nodes; ++n) probabilities[n] /= e.sum;
  int best = 0;
  for (int n = 1; n < nodes; ++n) best = probabilities[n] > probabilities[best] ? n : best;
  if (d_totals != nullptr) {
    for (int n = 0; n < nodes; ++n) d_totals[n] = probabilities[n];
    d_totals[label] -= 1;
  }
  return {static_cast<double>(logarithm(e.sum) - (totals[label] - e.largest)), best == label};
}

// The loss for a row t of probabilities of the classes, and its gradient, unless d_totals is null:
//
//   loss = -(sum over n of t[n] * ln p[n]),   d_totals[n] = p[n] * (sum over m of t[m]) - t[n]
//
// The label is the first of the classes with the largest t. With l for the label,
// -ln p[n] = -ln p[l] + totals[l] - totals[n]. So a row with a single 1 gives the bits of its label.
template <class T>
Outcome softmax_loss_of_row(T* probabilities, T* d_totals, const T* totals, const T* row, int nodes) noexcept {
  int label = 0;
  for (int n = 1; n < nodes; ++n) label = row[n] > row[label] ? n : label;
  const Outcome of_label = softmax_loss(probabilities, static_cast<T*>(nullptr), totals, label, nodes);
  T sum = 0;
  for (int n = 0; n < nodes; ++n) sum += row[n];
  double loss = 0;
  for (int n = 0; n < nodes; ++n)
    if (row[n] != 0)
      loss += static_cast<double>(row[n]) * (of_label.loss + static_cast<double>(totals[label] - totals[n]));
  if (d_totals != nullptr)
    for (int n = 0; n < nodes; ++n) d_totals[n] = fused(probabilities[n], sum, -row[n]);
  return {loss, of_label.correct};
}

template <class T>
void enter(Kernels<T>& k) {
  k.softmax_forward = softmax_forward<T>;
  k.softmax_backward = softmax_backward<T>;
  k.softmax_loss = softmax_loss<T>;
  k.softmax_loss_of_row = softmax_loss_of_row<T>;
}

}  // namespace

void CNNX_TARGET::fill_softmax(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
