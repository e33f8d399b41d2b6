// Conv3x3, called by hand.
#include "../stages/convolve.hpp"
#include "../stages/padding.hpp"
#include "by_hand.hpp"

namespace cnnx {
namespace {

// The checked arguments of a call of Conv3x3: the layer, the shape of the padded input, and the input itself.
template <class T>
struct Conv3x3Call {
  Conv3x3Call(const BoundConv3x3& bound, const py::array& input, Access access) : layer(bound.layer<T>(access)) {
    values = checked<T>(input, "input");
    check_count("output",
                double(input.shape(0) + 4) * double(input.shape(1) + 4) * std::max(layer.channels, layer.count));
    const Shape in{size_of(input, 0), size_of(input, 1), input.ndim() == 3 ? size_of(input, 2) : 1,
                   static_cast<int>(input.ndim())};
    try {
      layer.output_shape(in);
    } catch (const std::invalid_argument& error) {
      throw py::value_error(std::string("input: ") + error.what());
    }
    shape = layer.shape(in);
  }

  // Sets the gradient of the packed filters.
  void backward_filters(T* d_packed, const T* d_output) const {
    ScratchPointer<T> padded;
    if (layer.same) {
      padded = scratch<T>(shape.padded_size());
      pad(padded.get(), values, shape);
    }
    std::fill_n(d_packed, packed_filters_size<T>(shape), T{0});  // the kernel adds to it
    active_target().kernels<T>().conv3x3_backward_filters(d_packed, d_output, layer.same ? padded.get() : values,
                                                          shape);
  }
  // Sets the gradient of the input.
  void backward_input(T* d_input, const T* d_output) const {
    const auto filters = scratch<T>(layer.filters_size()),
               shares = scratch<T>(conv3x3_backward_input_scratch<T>(shape));
    copy(filters.get(), layer.filters, layer.filters_size());  // numpy's memory begins anywhere
    ScratchPointer<T> d_padded;
    if (layer.same) d_padded = scratch<T>(shape.padded_size());
    active_target().kernels<T>().conv3x3_backward_input(layer.same ? d_padded.get() : d_input, d_output, filters.get(),
                                                        shares.get(), shape);
    if (layer.same) crop(d_input, d_padded.get(), shape);
  }

  Conv3x3Layer<T> layer;
  Conv3x3Shape shape{};
  const T* values;
};

}  // namespace

py::array BoundConv3x3::forward(const py::array& input) const {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::array {
    const Conv3x3Call<T> call(*this, input, Access::read);
    const auto& s = call.shape;
    auto output = new_array<T>({s.out_height(), s.out_width(), s.filters});
    T* const out = output.mutable_data();
    {
      const WithoutLock unlocked;
      const auto& kernels = active_target().kernels<T>();
      const auto packed = scratch<T>(packed_filters_size<T>(s));
      const auto transformed = scratch<T>(winograd_filters_size<T>(s)), desk = scratch<T>(desk_size<T>(s));
      kernels.pack_filters(packed.get(), call.layer.filters, call.layer.biases, s);
      if (uses_winograd<T>(s)) kernels.winograd_transform_filters(transformed.get(), packed.get(), s);
      convolve<T>(out, call.values, {packed.get(), transformed.get()}, desk.get(), s);
    }
    return output;
  });
}

py::array BoundConv3x3::backprop(const py::array& d_output, const py::array& input, double learn_rate) const {
  if (!trainable) return gradient(d_output, input, std::nullopt, std::nullopt);
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::array {
    const Conv3x3Call<T> call(*this, input, Access::write);
    const auto& s = call.shape;
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.filters});
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      const auto& kernels = active_target().kernels<T>();
      const auto packed = scratch<T>(packed_filters_size<T>(s)), d_packed = scratch<T>(packed_filters_size<T>(s));
      kernels.pack_filters(packed.get(), call.layer.filters, call.layer.biases, s);
      call.backward_filters(d_packed.get(), d_out);
      call.backward_input(d_in, d_out);
      kernels.sgd_update(packed.get(), d_packed.get(), static_cast<T>(learn_rate), packed_filters_size<T>(s), nullptr);
      kernels.unpack_filters(call.layer.filters, call.layer.biases, packed.get(), s);
    }
    return d_input;
  });
}

py::array BoundConv3x3::gradient(const py::array& d_output, const py::array& input,
                                 const std::optional<py::array>& d_filters,
                                 const std::optional<py::array>& d_biases) const {
  return with_dtype(filters, "filters", [&]<class T>(T) -> py::array {
    const Conv3x3Call<T> call(*this, input, Access::read);
    const auto& s = call.shape;
    const T* const d_out = checked<T>(d_output, "d_L_d_out", {s.out_height(), s.out_width(), s.filters});
    T* const to_filters = filters.ndim() == 4 ? given_gradient<T>(d_filters, "d_filters", {s.filters, 3, 3, s.channels})
                                              : given_gradient<T>(d_filters, "d_filters", {s.filters, 3, 3});
    T* const to_biases = given_gradient<T>(d_biases, "d_biases", {s.filters});
    auto d_input = new_array_like<T>(input);
    T* const d_in = d_input.mutable_data();
    {
      const WithoutLock unlocked;
      if (to_filters != nullptr) {
        const auto& kernels = active_target().kernels<T>();
        const Index count = call.layer.filters_size();
        const auto d_packed = scratch<T>(packed_filters_size<T>(s));
        const auto unpacked = new_buffer<T>(count + s.filters);
        call.backward_filters(d_packed.get(), d_out);
        kernels.add_unpacked_filters(unpacked.get(), d_packed.get(), s);
        kernels.add(to_filters, unpacked.get(), count);
        if (to_biases != nullptr) kernels.add(to_biases, unpacked.get() + count, s.filters);
      }
      call.backward_input(d_in, d_out);
    }
    return d_input;
  });
}

}  // namespace cnnx
