// The softmax function and the cross-entropy loss (the article's Part 1, section 5, and Part 2, section 3):
//
//   probabilities[n] = exp(totals[n] - max) / sum over m of exp(totals[m] - max)
//
// Subtracting the maximum changes nothing in exact arithmetic and keeps exp from overflowing.
#include "../simd/tiles.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

inline float logarithm(float x) {
  return __builtin_logf(x);
}
[[maybe_unused]] inline double logarithm(double x) {
  return __builtin_log(x);
}

// Registers that every target has, so that a sum does not depend on the target.
template <class T>
using V = Vec<T, 16>;
template <class T>
inline constexpr int lanes = 16 / static_cast<int>(sizeof(T));

// Whole numbers as wide as T, and the numbers of the lanes.
template <class T>
using Places = Vec<std::conditional_t<sizeof(T) == sizeof(float), std::int32_t, std::int64_t>, 16>;
template <class T>
Places<T> places() {
  Places<T> numbers{};
  for (int lane = 0; lane < lanes<T>; ++lane) numbers[lane] = lane;
  return numbers;
}

// What exponential() knows of T: the format of its numbers, the power at which the series may end, and ln 2 = high +
// low, where `high` has so few digits that its product with an exponent is exact. exp(least) is 0.
template <class T>
struct Exponent {
  static constexpr bool is_float = sizeof(T) == sizeof(float);
  static constexpr int mantissa = is_float ? 23 : 52, bias = is_float ? 127 : 1023, degree = is_float ? 7 : 13;
  static constexpr double high = is_float ? 0x1.62ep-1 : 0x1.62e42fefap-1;
  static constexpr double low = is_float ? 0x1.0bfbe8e7bcd5ep-15 : 0x1.cf79abc9e3b3ap-40;
  static constexpr T least = is_float ? -110 : -760;
};

// exp(x) for x <= 0, to about one unit in the last place: 2^k exp(r), where k is the integer that is nearest to x / ln
// 2, and exp(r) is the beginning of its Taylor series. The C library's function takes one number at a time.
template <class T>
__attribute__((always_inline)) inline V<T> exponential(V<T> x) {
  using E = Exponent<T>;
  using Bits = Places<T>;
  constexpr T reciprocal = static_cast<T>(1 / (E::high + E::low)), high = E::high, low = E::low;
  constexpr T integers = T{3} * (std::int64_t{1} << (E::mantissa - 1));  // numbers of this size have no fraction
  const V<T> least = all<V<T>>(E::least);
  x = x < least ? least : x;  // a NaN stays
  const V<T> shifted = x * reciprocal + integers, k = shifted - integers;
  const V<T> r = (x - k * high) - k * low;
  T factorial[E::degree + 1] = {1};
  for (int n = 1; n <= E::degree; ++n) factorial[n] = factorial[n - 1] * static_cast<T>(n);
  V<T> sum = all<V<T>>(T{1} / factorial[E::degree]);
#pragma GCC unroll 13
  for (int n = E::degree - 1; n >= 0; --n) sum = sum * r + T{1} / factorial[n];
  // In two factors, because 2^k may be too small for an exponent.
  const Bits power = (Bits)shifted - (Bits)all<V<T>>(integers), half = power >> 1;
  const auto two_to = [](const Bits& n) { return (V<T>)((n + E::bias) << E::mantissa); };
  return sum * two_to(half) * two_to(power - half);
}

// Combines the lanes by halving.
template <class T, class Combine>
T across(V<T> v, Combine&& combine) {
  for (int half = lanes<T> / 2; half > 0; half /= 2)
    for (int lane = 0; lane < half; ++lane) v[lane] = combine(v[lane], v[lane + half]);
  return v[0];
}

// What exponentials() computes: the largest total, the sum of all exp(totals - largest), and those of the last
// register.
template <class T>
struct Exponentials {
  T largest, sum;
  V<T> last;
};

// Sets exps to exp(totals - largest). At least as many nodes as lanes. The last register reaches back. Nobody reads
// it from memory, because a CPU waits long for numbers that two instructions have just written.
template <class T>
Exponentials<T> exponentials(T* exps, const T* totals, int nodes) {
  using Half = Vec<T, 8>;
  const int last = nodes - lanes<T>;
  // In halves, as finish_totals has written them.
  const auto last_totals = joined<V<T>>(load<Half>(totals + last), load<Half>(totals + last + lanes<T> / 2));
  V<T> most = last_totals;
  for (int n = 0; n < last; n += lanes<T>) most = larger(most, load<V<T>>(totals + n));
  const T largest = across<T>(most, [](T a, T b) { return b > a ? b : a; });
  const V<T> last_exps = exponential<T>(last_totals - largest);
  store(exps + last, last_exps);
  V<T> sum{};
  int n = 0;
  for (; n < last; n += lanes<T>) {
    const V<T> some = exponential<T>(load<V<T>>(totals + n) - largest);
    store(exps + n, some);
    sum += some;
  }
  sum += places<T>() < n - last ? V<T>{} : last_exps;
  return {largest, across<T>(sum, [](T a, T b) { return a + b; }), last_exps};
}

// Calls body(first node, probabilities) for registers that cover all nodes. The last one reaches back.
template <class T, class Body>
void for_probabilities(const T* exps, const Exponentials<T>& e, int nodes, const Body& body) {
  int n = 0;
  for (; n < nodes - lanes<T>; n += lanes<T>) body(n, load<V<T>>(exps + n) / e.sum);
  body(nodes - lanes<T>, e.last / e.sum);
}

// For fewer nodes than a register has lanes: a register of totals, of which the others have the probability 0.
template <class T>
struct Padded {
  T totals[lanes<T>], probabilities[lanes<T>], d_totals[lanes<T>];

  Padded(const T* from, int nodes) {
    for (int n = 0; n < lanes<T>; ++n) totals[n] = n < nodes ? from[n] : -__builtin_inf();
  }
};

template <class T>
void softmax_forward(T* probabilities, const T* totals, int nodes) noexcept {
  if (nodes < lanes<T>) {
    Padded<T> all(totals, nodes);
    softmax_forward(all.probabilities, all.totals, lanes<T>);
    for (int n = 0; n < nodes; ++n) probabilities[n] = all.probabilities[n];
    return;
  }
  const auto e = exponentials(probabilities, totals, nodes);
  for_probabilities(probabilities, e, nodes, [&](int n, const V<T>& p) { store(probabilities + n, p); });
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
// with the largest probability. Sets p = softmax(totals) and, unless d_totals is null, the loss's gradient, which is p
// with 1 less for the label.
template <class T>
Outcome softmax_loss(T* probabilities, T* d_totals, const T* totals, int label, int nodes) noexcept {
  if (nodes < lanes<T>) {
    Padded<T> all(totals, nodes);
    const auto outcome = softmax_loss(all.probabilities, all.d_totals, all.totals, label, lanes<T>);
    for (int n = 0; n < nodes; ++n) probabilities[n] = all.probabilities[n];
    for (int n = 0; d_totals != nullptr && n < nodes; ++n) d_totals[n] = all.d_totals[n];
    return outcome;
  }
  const auto e = exponentials(probabilities, totals, nodes);
  const T most = probabilities[label] / e.sum;
  Places<T> larger_ones{};
  for_probabilities(probabilities, e, nodes, [&](int n, const V<T>& p) {
    const Places<T> place = places<T>() + n;
    store(probabilities + n, p);
    if (d_totals != nullptr) store(d_totals + n, p - (place == label ? V<T>{} + 1 : V<T>{}));
    larger_ones |= place < label ? ~(p < most) : p > most;
  });
  bool correct = true;
  for (int lane = 0; lane < lanes<T>; ++lane) correct &= larger_ones[lane] == 0;
  return {static_cast<double>(logarithm(e.sum) - (totals[label] - e.largest)), correct};
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
