// ReLU of a vector or a number, forward and backward.
#pragma once

namespace cnnx {
namespace {

// max(0, v); a NaN stays a NaN.
template <class V>
V relu(const V& v) {
  return v <= 0 ? V{} : v;
}

// The gradient where `value`, which is the ReLU's input or output, is above 0, else 0.
template <class V>
V through_relu(const V& gradient, const V& value) {
  return value > 0 ? gradient : V{};
}

}  // namespace
}  // namespace cnnx
