// BatchNorm, called by hand.
#include "by_hand.hpp"

namespace cnnx {
namespace {

// The checked arguments of a call of BatchNorm, and its values for the running statistics.
template <class T>
struct BatchNormCall {
  BatchNormCall(const BoundBatchNorm& bound, const py::array& input, Access access)
      : layer(bound.layer<T>(access)), values(checked<T>(input, "input")), numbers(scratch<T>(Index{5} * channels())) {
    const Index inputs = input.size();
    check_count("input", static_cast<double>(inputs));
    if ((input.ndim() != 1 && input.ndim() != 3) || input.shape(input.ndim() - 1) != layer.channels)
      throw py::value_error("input: expected shape (any, any, " + std::to_string(layer.channels) + ") or (" +
                            std::to_string(layer.channels) + ",), got " + describe_shape(input));
    shape = {static_cast<int>(inputs / std::max(channels(), 1)), 1, channels()};
    const auto at = [&](int number) { return numbers.get() + Index{number} * channels(); };
    norm = {layer.scale, layer.offset, layer.running_mean, layer.running_var, at(0), at(1), at(2), at(3), at(4), at(4)};
    std::fill_n(norm.d_mean, channels(), T{0});
    active_target().kernels<T>().batch_norm_take_running(norm, layer.limits(), channels());
  }

  int channels() const noexcept { return layer.channels; }

  BatchNormLayer<T> layer;
  const T* values;
  ScratchPointer<T> numbers;
  BatchNormShape shape{};
  BatchNormValues<T> norm{};
};

}  // namespace

py::array BoundBatchNorm::forward(const py::array& input) const {
  return with_dtype(scale, "scale", [&]<class T>(T) -> py::array {
    const BatchNormCall<T> call(*this, input, Access::read);
    auto output = new_array_like<T>(input);
    T* const out = output.mutable_data();
    {
      const WithoutLock unlocked;
      active_target().kernels<T>().batch_norm_forward(out, call.values, call.norm, call.shape);
    }
    return output;
  });
}

// The running statistics are constants, so the input's gradient is factor * d_output: the forward pass with a shift of
// 0.
py::array BoundBatchNorm::backprop(const py::array& d_output, const py::array& input, double learn_rate) const {
  return with_dtype(scale, "scale", [&]<class T>(T) -> py::array {
    BatchNormCall<T> call(*this, input, Access::write);
    const T* const d_out = checked<T>(d_output, "d_L_d_out");
    if (d_output.size() != input.size()) throw py::value_error("d_L_d_out: expected as many values as the input has");
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      const auto& k = active_target().kernels<T>();
      const Index padded = padded_channels<T>(call.channels());
      const auto sums = scratch<T>(2 * padded);
      if (trainable) k.batch_norm_sums(sums.get(), d_out, call.values, nullptr, call.norm, call.shape);
      call.norm.shift = call.norm.d_mean;  // which is 0
      k.batch_norm_forward(d_in, d_out, call.norm, call.shape);
      if (trainable) {
        k.sgd_update(call.layer.scale, sums.get(), static_cast<T>(learn_rate), call.channels(), nullptr);
        k.sgd_update(call.layer.offset, sums.get() + padded, static_cast<T>(learn_rate), call.channels(), nullptr);
      }
    }
    return d_input;
  });
}

}  // namespace cnnx
