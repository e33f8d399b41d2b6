// Conv3x3 on an image with one channel, the BatchNorm after it, and then a MaxPool2. The convolution is linear, so its
// outputs' statistics follow from those of the 3x3 windows of the image, and its outputs need not be computed first.
// With the windows' pixels I[t] of tap t, their means M[t] and, over all n windows of the image,
//
//   P[t, u] = sum of  (I[t] - M[t]) * (I[u] - M[u])
//
// the outputs x of a filter w with bias b have
//
//   mean = b + sum over t of  w[t] * M[t]      sum of squared distances = sum over t, u of  w[t] * P[t, u] * w[u]
//
// The normalisation is folded into the filters: y = factor * x + shift is a convolution, too, with filters factor * w
// and biases factor * b + shift. D[t] and D_b are the gradients of these, which conv_pool_backward computes. Thus
//
//   d_offset = D_b,   d_scale = inverse * (sum over t of  w[t] * D[t]  + (b - m) * D_b)
//   d_w[t] = factor * D[t] - sum over the windows of  I[t] * (d_mean + d_slope * (x - m))
//
// where m is the batch's mean; kernels/batch_norm.cpp has the other formulas. An image's part of the last sum is
//
//   n * M[t] * (d_mean + d_slope * (mean - m)) + d_slope * sum over u of  P[t, u] * w[u]
//
// Filters are in the lanes.
#include "../simd/tiles.hpp"
#include "target.hpp"

namespace cnnx {
namespace {

constexpr int taps = 9;

// Four pixels side by side, on every target.
using Four = Logical<double, 4>;

double total_of(const Four& four) {
  double lanes[4];
  four.write(lanes);
  return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
}

// Sets mean[tap] and products[tap][t >= tap] to plain sums.
template <int tap>
void add_up(WindowMoments& moments, const double* pixels, const Conv3x3Shape& s) {
  constexpr double in_row[] = {1, 1, 1, 1, 0, 0, 0};
  const int width = s.width, out_height = s.out_height(), out_width = s.out_width();
  const auto offset = [&](int t) { return t / 3 * width + t % 3; };
  Four products[taps - tap]{}, sum{};
  for (int y = 0; y < out_height; ++y, pixels += width)
    for (int x = 0; x < out_width; x += 4) {
      const int left = out_width - x;
      Four here{};
      here.add_product(Four::read(pixels + x + offset(tap)), Four::read(in_row + (left < 4 ? 4 - left : 0)));
      sum += here;
#pragma GCC unroll 9
      for (int t = tap; t < taps; ++t) products[t - tap].add_product(here, Four::read(pixels + x + offset(t)));
    }
  moments.mean[tap] = total_of(sum);
  for (int t = tap; t < taps; ++t) moments.products[tap][t] = total_of(products[t - tap]);
}

// `scratch` has room for window_moments_scratch() numbers. The last eight stay 0.
template <class T>
void window_moments(WindowMoments& moments, double* scratch, const T* image, const Conv3x3Shape& s) noexcept {
  // Distances from the first pixel are 0 in the background.
  const double first = static_cast<double>(image[0]);
  for (Index i = 0; i < Index{s.height} * s.width; ++i) scratch[i] = static_cast<double>(image[i]) - first;
  add_up<0>(moments, scratch, s);
  add_up<1>(moments, scratch, s);
  add_up<2>(moments, scratch, s);
  add_up<3>(moments, scratch, s);
  add_up<4>(moments, scratch, s);
  add_up<5>(moments, scratch, s);
  add_up<6>(moments, scratch, s);
  add_up<7>(moments, scratch, s);
  add_up<8>(moments, scratch, s);
  const double count = double(s.out_height()) * s.out_width();
  moments.count = count;
  for (int t = 0; t < taps; ++t)
    for (int u = t; u < taps; ++u) {
      double& product = moments.products[t][u];
      product = fused(-moments.mean[t] / count, moments.mean[u], product);
      moments.products[u][t] = product;
    }
  for (double& mean : moments.mean) mean = mean / count + first;
}

// What batch_norm_moments computes, for the convolution of the windows with packed filters.
template <class T>
void output_moments(T* mean, T* squares, const WindowMoments& moments, const T* packed, int filters) noexcept {
  const int padded = padded_channels<T>(filters);
  for (int f = 0; f < filters; ++f) {
    double w[taps], of_outputs = static_cast<double>(packed[taps * padded + f]), distances = 0;
    for (int t = 0; t < taps; ++t) w[t] = static_cast<double>(packed[t * padded + f]);
    for (int t = 0; t < taps; ++t) {
      double product = 0;
      for (int u = 0; u < taps; ++u) product = fused(moments.products[t][u], w[u], product);
      distances = fused(w[t], product, distances);
      of_outputs = fused(w[t], moments.mean[t], of_outputs);
    }
    mean[f] = static_cast<T>(of_outputs);
    squares[f] = static_cast<T>(distances > 0 ? distances : 0);
  }
}

// Calls body(offset of a register of filters).
template <class T, class Body>
void for_registers(int filters, Body&& body) {
  for (int f = 0; f < padded_channels<T>(filters); f += static_cast<int>(sizeof(Vec<T>) / sizeof(T))) body(f);
}

template <class T>
void fold_norm(T* folded, const T* packed, const BatchNormValues<T>& values, int filters) noexcept {
  const int padded = padded_channels<T>(filters);
  for_registers<T>(filters, [&](int f) {
    const auto factor = load<Vec<T>>(values.factor + f);
    for (int t = 0; t < taps; ++t) store(folded + t * padded + f, factor * load<Vec<T>>(packed + t * padded + f));
    const auto bias = load<Vec<T>>(packed + taps * padded + f), shift = load<Vec<T>>(values.shift + f);
    store(folded + taps * padded + f, factor * bias + shift);
  });
}

template <class T>
void unfold_gradient(T* d_packed, T* d_norm, const T* d_folded, const T* packed, const BatchNormValues<T>& values,
                     const Conv3x3Shape& s) noexcept {
  using V = Vec<T>;
  const int padded = padded_channels<T>(s.filters);
  for_registers<T>(s.filters, [&](int f) {
    const auto factor = load<V>(values.factor + f), d_bias = load<V>(d_folded + taps * padded + f);
    V d_scale{};
    for (int t = 0; t < taps + s.bias; ++t) {
      const Index at = t * padded + f;
      store(d_packed + at, load<V>(d_packed + at) + factor * load<V>(d_folded + at));
    }
    for (int t = 0; t < taps; ++t) d_scale += load<V>(packed + t * padded + f) * load<V>(d_folded + t * padded + f);
    d_scale += (load<V>(packed + taps * padded + f) - load<V>(values.mean + f)) * d_bias;
    store(d_norm + f, load<V>(d_norm + f) + load<V>(values.inverse + f) * d_scale);
    store(d_norm + padded + f, load<V>(d_norm + padded + f) + d_bias);
  });
}

// `mean` is of the sample's outputs.
template <class T>
void subtract_through_statistics(T* d_packed, const T* mean, const WindowMoments& moments, const T* packed,
                                 const BatchNormValues<T>& values, const Conv3x3Shape& s) noexcept {
  using V = Vec<T>;
  const int padded = padded_channels<T>(s.filters);
  for_registers<T>(s.filters, [&](int f) {
    const auto d_slope = load<V>(values.d_slope + f);
    const V distance = load<V>(mean + f) - load<V>(values.mean + f);
    const V each = load<V>(values.d_mean + f) + d_slope * distance;
    const auto subtract = [&](int t, const V& share) {
      T* const at = d_packed + t * padded + f;
      store(at, load<V>(at) - share);
    };
    for (int t = 0; t < taps; ++t) {
      V product{};
      for (int u = 0; u < taps; ++u)
        product += static_cast<T>(moments.products[t][u]) * load<V>(packed + u * padded + f);
      subtract(t, fused(d_slope, product, static_cast<T>(moments.count * moments.mean[t]) * each));
    }
    if (s.bias) subtract(taps, static_cast<T>(moments.count) * each);
  });
}

template <class T>
void enter(Kernels<T>& k) {
  k.window_moments = window_moments<T>;
  k.output_moments = output_moments<T>;
  k.fold_norm = fold_norm<T>;
  k.unfold_gradient = unfold_gradient<T>;
  k.subtract_through_statistics = subtract_through_statistics<T>;
}

}  // namespace

void CNNX_TARGET::fill_conv_pool_norm(Kernels<float>& float32, Kernels<double>& float64) {
  enter(float32);
  enter(float64);
}

}  // namespace cnnx
