// The rectifier of a vector or a number, forward and backward.
#pragma once

namespace cnnx {
namespace {

// output = max(0, input); a NaN stays one. Of a vector or a number.
template <class V>
V relu(const V& v) {
  return v <= 0 ? V{} : v;
}

// A ReLU that has made its value 0 passes no gradient.
template <class V>
V through_relu(const V& gradient, const V& value) {
  return value > 0 ? gradient : V{};
}

}  // namespace
}  // namespace cnnx
