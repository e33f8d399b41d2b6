// Operations on each number by itself: ReLU, Dropout, sums, the optimizers' updates, and moving averages.
#include "../simd/registers.hpp"
#include "relu.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

template <class T>
void relu_forward(T* __restrict output, const T* __restrict input, Index count) noexcept {
  for (Index i = 0; i < count; ++i) output[i] = relu(input[i]);
}

// d_input = d_output where input > 0, else 0. Both gradients may be the same memory, so GCC would not vectorize a loop
// over numbers.
template <class T>
void relu_backward(T* d_input, const T* d_output, const T* input, Index count) noexcept {
  using V = Vec<T>;
  constexpr Index lanes = sizeof(V) / sizeof(T);
  Index i = 0;
  for (; count - i >= lanes; i += lanes) store(d_input + i, through_relu(load<V>(d_output + i), load<V>(input + i)));
  for (; i < count; ++i) d_input[i] = through_relu(d_output[i], input[i]);
}

// A hash of a 32-bit counter: multiply and xorshift, with the constants that C. Wellons' search for low bias found.
inline std::uint32_t mixed(std::uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7feb352dU;
  x = (x ^ (x >> 15)) * 0x846ca68bU;
  return x ^ (x >> 16);
}

// output = 0 with probability `rate`, else input / (1 - rate). Which numbers are dropped depends only on `key` and
// their index, so the same call on gradients is the backward pass.
template <class T>
void dropout(T* __restrict output, const T* __restrict input, T rate, std::uint64_t key, Index count) noexcept {
  const std::uint32_t low = static_cast<std::uint32_t>(key), high = static_cast<std::uint32_t>(key >> 32);
  const auto threshold = static_cast<std::uint32_t>(static_cast<double>(rate) * 4294967296.0);
  const T scale = 1 / (1 - rate);
  for (Index i = 0; i < count; ++i) {
    const std::uint32_t number = mixed(mixed(static_cast<std::uint32_t>(i) + low) ^ high);
    output[i] = number < threshold ? T{0} : scale * input[i];
  }
}

template <class T>
void add(T* __restrict sum, const T* __restrict addend, Index count) noexcept {
  for (Index i = 0; i < count; ++i) sum[i] += addend[i];
}

// add_as_tree sets sums[0] = factor * (the sum of 1, 2, 4 or 8 arrays, added as a balanced tree: (0 + 1) + (2 + 3) and
// so on), and the other arrays to 0.
template <int arrays, class V, class T>
V tree_sum(const T* const* values, Index at) {
  if constexpr (arrays == 1)
    return load<V>(values[0] + at);
  else
    return tree_sum<arrays / 2, V>(values, at) + tree_sum<arrays / 2, V>(values + arrays / 2, at);
}
template <int arrays, class T>
void add_arrays(T* const* sums, T factor, Index count) {
  T* values[arrays];
  for (int i = 0; i < arrays; ++i) values[i] = sums[i];
  const auto add_at = [&]<class V>(Index at, V) {
    store(values[0] + at, tree_sum<arrays, V>(values, at) * factor);
    for (int i = 1; i < arrays; ++i) store(values[i] + at, V{});
  };
  Index at = 0;
  for (constexpr Index lanes = sizeof(Vec<T>) / sizeof(T); at + lanes <= count; at += lanes) add_at(at, Vec<T>{});
  for (; at < count; ++at) add_at(at, T{});
}
template <class T>
void add_as_tree(T* const* sums, int arrays, T factor, Index count) noexcept {
  if (arrays == 8) return add_arrays<8>(sums, factor, count);
  if (arrays == 4) return add_arrays<4>(sums, factor, count);
  if (arrays == 2) return add_arrays<2>(sums, factor, count);
  add_arrays<1>(sums, factor, count);
}

template <class T>
Index count_nonzero(const T* values, Index count) noexcept {
  int found = 0;  // as wide as the lanes of a float
  for (Index i = 0; i < count; ++i) found += values[i] != 0;
  return found;
}

template <class T>
void scale(T* values, T factor, Index count) noexcept {
  for (Index i = 0; i < count; ++i) values[i] *= factor;
}

// The optimizers' updates set the gradient to 0, because the next step adds to it. At this moment it is in L1. They
// write it last, because the loop took longer when they wrote it first.
//
// If threads share an update, each changes some of the parameters, and all of them read all parameters in the next
// step. So a core waits for the others when it writes its own parameters, of which they have copies, and when it reads
// theirs. The updates ask for both ahead of time. They do so once for `update_piece` numbers, because GCC would not
// vectorize a loop that fetches.
inline constexpr Index update_piece = 128;

// Returns where the piece that begins at `first` ends.
template <class T>
Index ask_ahead(const T* parameters, const T* others, Index first, Index count) {
  constexpr Index ahead = 2 * update_piece;
  const Index rest = count - first;
  if (rest >= ahead + update_piece)
    for (Index i = first; i < first + update_piece; i += lanes_of<T>) __builtin_prefetch(parameters + ahead + i, 1);
  if (rest >= update_piece && others != nullptr)
    for (Index i = first; i < first + update_piece; i += lanes_of<T>) __builtin_prefetch(others + i);
  return rest < update_piece ? count : first + update_piece;
}

template <class T>
void sgd_update(T* __restrict parameters, T* __restrict gradient, T learn_rate, Index count, const T* others) noexcept {
  for (Index first = 0; first < count; first += update_piece) {
    const Index end = ask_ahead(parameters, others, first, count);
    for (Index i = first; i < end; ++i) {
      parameters[i] = fused(-learn_rate, gradient[i], parameters[i]);
      gradient[i] = 0;
    }
  }
}

// PyTorch's SGD (momentum after Sutskever et al., 2013):
//   g += weight_decay * p,  v = momentum * v + g,  p -= learn_rate * v
// With Nesterov's momentum the last step is p -= learn_rate * (momentum * v + g).
template <class T>
void sgd_momentum_update(T* __restrict parameters, T* __restrict velocity, T* __restrict gradient, T learn_rate,
                         const SgdSettings& settings, Index count, const T* others) noexcept {
  const T momentum = static_cast<T>(settings.momentum), weight_decay = static_cast<T>(settings.weight_decay);
  const bool nesterov = settings.nesterov;
  for (Index first = 0; first < count; first += update_piece) {
    const Index end = ask_ahead(parameters, others, first, count);
    for (Index i = first; i < end; ++i) {
      const T g = fused(weight_decay, parameters[i], gradient[i]);
      const T v = fused(momentum, velocity[i], g);
      velocity[i] = v;
      parameters[i] = fused(-learn_rate, nesterov ? fused(momentum, v, g) : v, parameters[i]);
      gradient[i] = 0;
    }
  }
}

inline float square_root(float x) {
  return __builtin_sqrtf(x);
}
[[maybe_unused]] inline double square_root(double x) {
  return __builtin_sqrt(x);
}

// Adam (Kingma and Ba, 2015) with decoupled weight decay (Loshchilov and Hutter, 2019), t counting from 1:
//   p -= learn_rate * weight_decay * p
//   m = beta1 * m + (1 - beta1) * g,  v = beta2 * v + (1 - beta2) * g * g
//   p -= learn_rate * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
template <class T>
void adam_update(T* __restrict parameters, T* __restrict first_moment, T* __restrict second_moment,
                 T* __restrict gradient, T learn_rate, Index step, const AdamSettings& settings, Index count,
                 const T* others) noexcept {
  const double correction1 = 1 - __builtin_pow(settings.beta1, static_cast<double>(step));
  const double correction2 = 1 - __builtin_pow(settings.beta2, static_cast<double>(step));
  const T beta1 = static_cast<T>(settings.beta1), beta2 = static_cast<T>(settings.beta2);
  const T rest1 = static_cast<T>(1 - settings.beta1), rest2 = static_cast<T>(1 - settings.beta2);
  const T keep = static_cast<T>(1 - static_cast<double>(learn_rate) * settings.weight_decay);
  const T rate = static_cast<T>(static_cast<double>(learn_rate) / correction1);
  const T scale = static_cast<T>(1 / __builtin_sqrt(correction2));
  // A gradient whose square is too small for v still moves m. A smaller epsilon would then move the parameter far.
  constexpr double smallest = sizeof(T) == sizeof(float) ? double{__FLT_MIN__} : __DBL_MIN__;
  const T least = static_cast<T>(__builtin_sqrt(smallest / (1 - settings.beta2)));
  const T given = static_cast<T>(settings.epsilon), epsilon = given > least ? given : least;
  for (Index first = 0; first < count; first += update_piece) {
    const Index end = ask_ahead(parameters, others, first, count);
    for (Index i = first; i < end; ++i) {
      const T g = gradient[i];
      const T m = fused(beta1, first_moment[i], rest1 * g);
      const T v = fused(beta2, second_moment[i], rest2 * g * g);
      first_moment[i] = m;
      second_moment[i] = v;
      parameters[i] = fused(-rate, m / fused(square_root(v), scale, epsilon), keep * parameters[i]);
      gradient[i] = 0;
    }
  }
}

// average += share * (parameters - average)
template <class T>
void average_update(T* __restrict average, const T* __restrict parameters, T share, Index count) noexcept {
  for (Index i = 0; i < count; ++i) average[i] = fused(share, parameters[i] - average[i], average[i]);
}

template <class T>
void enter(Kernels<T>& k) {
  k.relu_forward = relu_forward<T>;
  k.relu_backward = relu_backward<T>;
  k.dropout = dropout<T>;
  k.add = add<T>;
  k.add_as_tree = add_as_tree<T>;
  k.count_nonzero = count_nonzero<T>;
  k.scale = scale<T>;
  k.sgd_update = sgd_update<T>;
  k.sgd_momentum_update = sgd_momentum_update<T>;
  k.adam_update = adam_update<T>;
  k.average_update = average_update<T>;
}

}  // namespace

void CNNX_TARGET::fill_elementwise(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  if constexpr (has_float64) enter(float64);
}

}  // namespace cnnx
