// The table of kernels for Python, of one dtype: `NAME(target, count, arguments)` calls a target's kernel `count` times
// and returns the seconds that it took and what the last call returned. kernels.py compiles it against an installed
// core, with CNNX_DTYPE as float or double.
//
// A pointer is an array of the right dtype, or None; an array of pointers is a list of arrays; a struct has its name
// here. Nothing else is checked.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <cnnx/kernels/dispatch.hpp>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace py = pybind11;
using namespace cnnx;

namespace {

// An argument as a kernel takes it, from what Python gives.
template <class A>
struct Given {
  A value;

  explicit Given(py::handle from) : value(from.cast<A>()) {}
};

template <class T>
struct Given<T*> {
  T* value = nullptr;

  explicit Given(py::handle from) {
    using Array = py::array_t<std::remove_const_t<T>, py::array::c_style>;
    if (from.is_none()) return;
    if (!Array::check_(from)) throw py::type_error("expected a C-contiguous array of " + py::type_id<T>());
    value = static_cast<T*>(const_cast<void*>(py::reinterpret_borrow<py::array>(from).data()));
  }
};

template <class T>
struct Given<T* const*> {
  std::vector<T*> pointers;
  T* const* value;

  explicit Given(py::handle from) {
    for (const py::handle array : from) pointers.push_back(Given<T*>(array).value);
    value = pointers.data();
  }
  Given(const Given&) = delete;  // `value` would point into the other's
};

// It is changed in place.
template <>
struct Given<WindowMoments> {
  WindowMoments& value;

  explicit Given(py::handle from) : value(from.cast<WindowMoments&>()) {}
};

py::object to_python(const Outcome& outcome) {
  return py::make_tuple(outcome.loss, outcome.correct);
}
py::object to_python(const Range& range) {
  return py::make_tuple(range.first, range.end);
}
template <class T>
py::object to_python(const ValueRange<T>& range) {
  return py::make_tuple(range.least, range.most, range.is_finite);
}
template <class R>
py::object to_python(const R& result) {
  return py::cast(result);
}

template <class R, class... A>
py::tuple call(R (*kernel)(A...) noexcept, long count, const py::args& from) {
  if (from.size() != sizeof...(A))
    throw py::type_error("expected " + std::to_string(sizeof...(A)) + " arguments, got " + std::to_string(from.size()));
  return [&]<std::size_t... i>(std::index_sequence<i...>) {
    const std::tuple<Given<std::decay_t<A>>...> given(from[i]...);
    py::object result = py::none();
    const auto start = std::chrono::steady_clock::now();
    if constexpr (std::is_void_v<R>) {
      for (long n = 0; n < count; ++n) kernel(std::get<i>(given).value...);
    } else {
      R last{};
      for (long n = 0; n < count; ++n) last = kernel(std::get<i>(given).value...);
      result = to_python(last);
    }
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    return py::make_tuple(elapsed.count(), result);
  }(std::index_sequence_for<A...>{});
}

template <class T>
struct Table {
  py::module_& module;
  py::list names;

  template <auto kernel>
  static py::tuple run(std::size_t target, long count, const py::args& arguments) {
    return call(supported_targets().at(target).kernels<T>().*kernel, count, arguments);
  }

  // All these functions have the same type, so pybind11's part is compiled once and not for each kernel.
  template <auto kernel>
  void enter(const char* name) {
    module.def(name, run<kernel>);
    names.append(name);
  }
};

// A struct of pointers, which keeps the arrays that it is made from.
template <class S, class... Members>
void enter_struct(py::module_& module, const char* name) {
  const auto make = [](const py::args& from) {
    return [&]<std::size_t... i>(std::index_sequence<i...>) {
      return S{Given<Members>(from[i]).value...};
    }(std::index_sequence_for<Members...>{});
  };
  py::class_<S>(module, name).def(py::init(make), py::keep_alive<1, 2>());
}

template <class T>
void enter(py::module_& module) {
  using K = Kernels<T>;
  PYBIND11_NUMPY_DTYPE(Entry<T>, at, value);
  enter_struct<SparseGradient<T>, int*, Entry<T>*, int*, Entry<T>*>(module, "SparseGradient");
  enter_struct<PooledImage<T>, const T*, T, const int*, int, const int*, T*, T*, T*>(module, "PooledImage");
  enter_struct<DenseInput<T>, const T*, const T*, const int*, int>(module, "DenseInput");
  enter_struct<BatchNormValues<T>, const T*, const T*, T*, T*, T*, T*, T*, T*, T*, T*>(module, "BatchNormValues");
  enter_struct<PooledNorm<T>, T*, T*>(module, "PooledNorm");
  module.def("winograd_desk_size", winograd_desk_size<T>);
  module.def("winograd_scratch", winograd_scratch<T>);
  module.def("conv_pool_kept_size", conv_pool_kept_size<T>);
  module.def("packed_dense_size", [](const DenseShape& shape) { return shape.packed_size<T>(); });

  Table<T> table{module, py::list()};
  table.template enter<&K::pack_filters>("pack_filters");
  table.template enter<&K::unpack_filters>("unpack_filters");
  table.template enter<&K::pack_flipped_filters>("pack_flipped_filters");
  table.template enter<&K::add_unpacked_filters>("add_unpacked_filters");
  table.template enter<&K::conv3x3_forward>("conv3x3_forward");
  table.template enter<&K::conv3x3_backward_filters>("conv3x3_backward_filters");
  table.template enter<&K::conv3x3_backward_input>("conv3x3_backward_input");
  table.template enter<&K::winograd_transform_filters>("winograd_transform_filters");
  table.template enter<&K::winograd_forward>("winograd_forward");
  table.template enter<&K::winograd_forward_pooled>("winograd_forward_pooled");
  table.template enter<&K::winograd_backward>("winograd_backward");
  table.template enter<&K::winograd_finish_filters>("winograd_finish_filters");
  table.template enter<&K::conv3x3_gather>("conv3x3_gather");
  table.template enter<&K::conv3x3_gather_pooled>("conv3x3_gather_pooled");
  table.template enter<&K::conv3x3_backward_filters_sparse>("conv3x3_backward_filters_sparse");
  table.template enter<&K::conv3x3_backward_input_sparse>("conv3x3_backward_input_sparse");
  table.template enter<&K::max_pool2_forward>("max_pool2_forward");
  table.template enter<&K::max_pool2_choose>("max_pool2_choose");
  table.template enter<&K::max_pool2_hand_out>("max_pool2_hand_out");
  table.template enter<&K::scale_pixels>("scale_pixels");
  table.template enter<&K::find_foreground_in_bytes>("find_foreground_in_bytes");
  table.template enter<&K::find_foreground>("find_foreground");
  table.template enter<&K::are_small>("are_small");
  table.template enter<&K::range_of>("range_of");
  table.template enter<&K::conv_pool_forward>("conv_pool_forward");
  table.template enter<&K::conv_pool_backward>("conv_pool_backward");
  table.template enter<&K::spread_background>("spread_background");
  table.template enter<&K::sum_background>("sum_background");
  table.template enter<&K::dense_forward>("dense_forward");
  table.template enter<&K::dense_backward_update>("dense_backward_update");
  table.template enter<&K::dense_pack>("dense_pack");
  table.template enter<&K::dense_unpack>("dense_unpack");
  table.template enter<&K::dense_fold>("dense_fold");
  table.template enter<&K::dense_forward_packed>("dense_forward_packed");
  table.template enter<&K::dense_backward_update_packed>("dense_backward_update_packed");
  table.template enter<&K::dense_backward_packed>("dense_backward_packed");
  table.template enter<&K::dense_forward_block>("dense_forward_block");
  table.template enter<&K::dense_backward_block>("dense_backward_block");
  table.template enter<&K::dense_backward_inputs>("dense_backward_inputs");
  table.template enter<&K::dense_gradient_parts>("dense_gradient_parts");
  table.template enter<&K::dense_set_gradient>("dense_set_gradient");
  table.template enter<&K::conv_pool_dense_forward>("conv_pool_dense_forward");
  table.template enter<&K::conv_pool_dense_backward_update>("conv_pool_dense_backward_update");
  table.template enter<&K::conv_pool_dense_backward>("conv_pool_dense_backward");
  table.template enter<&K::batch_norm_moments>("batch_norm_moments");
  table.template enter<&K::batch_norm_take_running>("batch_norm_take_running");
  table.template enter<&K::batch_norm_take_batch>("batch_norm_take_batch");
  table.template enter<&K::batch_norm_take_gradient>("batch_norm_take_gradient");
  table.template enter<&K::batch_norm_pool>("batch_norm_pool");
  table.template enter<&K::batch_norm_forward>("batch_norm_forward");
  table.template enter<&K::batch_norm_sums>("batch_norm_sums");
  table.template enter<&K::batch_norm_backward>("batch_norm_backward");
  table.template enter<&K::window_moments>("window_moments");
  table.template enter<&K::output_moments>("output_moments");
  table.template enter<&K::fold_norm>("fold_norm");
  table.template enter<&K::unfold_gradient>("unfold_gradient");
  table.template enter<&K::subtract_through_statistics>("subtract_through_statistics");
  table.template enter<&K::relu_forward>("relu_forward");
  table.template enter<&K::relu_backward>("relu_backward");
  table.template enter<&K::dropout>("dropout");
  table.template enter<&K::add>("add");
  table.template enter<&K::add_as_tree>("add_as_tree");
  table.template enter<&K::count_nonzero>("count_nonzero");
  table.template enter<&K::scale>("scale");
  table.template enter<&K::sgd_update>("sgd_update");
  table.template enter<&K::sgd_momentum_update>("sgd_momentum_update");
  table.template enter<&K::adam_update>("adam_update");
  table.template enter<&K::average_update>("average_update");
  table.template enter<&K::softmax_forward>("softmax_forward");
  table.template enter<&K::softmax_backward>("softmax_backward");
  table.template enter<&K::softmax_loss>("softmax_loss");
  table.template enter<&K::softmax_loss_of_row>("softmax_loss_of_row");
  table.template enter<&K::mean_squared_error>("mean_squared_error");
  module.attr("names") = table.names;
  if (table.names.size() != offsetof(K, defers) / sizeof(void (*)()))  // what comes last is no kernel
    throw std::logic_error("kernels.cpp: enter every kernel of kernels.hpp");
}

PYBIND11_MODULE(cnnx_kernels, module) {
  py::enum_<Ties>(module, "Ties").value("all", Ties::all).value("first", Ties::first);
  py::class_<Conv3x3Shape>(module, "Conv3x3Shape").def(py::init([](int height, int width, int channels, int filters) {
    return Conv3x3Shape{height, width, channels, filters};
  }));
  py::class_<MaxPool2Shape>(module, "MaxPool2Shape").def(py::init([](int height, int width, int channels) {
    return MaxPool2Shape{height, width, channels};
  }));
  py::class_<ConvPoolShape>(module, "ConvPoolShape").def(py::init([](int height, int width, int filters, int stride) {
    return ConvPoolShape{height, width, filters, stride, true};
  }));
  py::class_<DenseShape>(module, "DenseShape").def(py::init([](int rows, int channels, int nodes) {
    return DenseShape{rows, channels, nodes};
  }));
  py::class_<BatchNormShape>(module, "BatchNormShape").def(py::init([](int height, int width, int channels, bool pool) {
    return BatchNormShape{height, width, channels, true, pool, Ties::first};
  }));
  py::class_<WindowMoments>(module, "WindowMoments").def(py::init<>()).def("numbers", [](const WindowMoments& moments) {
    return py::array_t<double>(sizeof moments / sizeof(double), &moments.count);
  });
  py::class_<BatchNormLimits>(module, "BatchNormLimits").def(py::init([](double momentum, double eps) {
    return BatchNormLimits{momentum, eps};
  }));
  py::class_<ShardedBatch>(module, "ShardedBatch").def(py::init([](Index samples, Index shards) {
    return ShardedBatch{samples, shards};
  }));
  py::class_<SgdSettings>(module, "SgdSettings").def(py::init([](double momentum, double weight_decay, bool nesterov) {
    return SgdSettings{momentum, weight_decay, nesterov};
  }));
  py::class_<AdamSettings>(module, "AdamSettings")
      .def(py::init([](double beta1, double beta2, double epsilon, double weight_decay) {
        return AdamSettings{beta1, beta2, epsilon, weight_decay};
      }));
  module.def("targets", [] {
    py::list names;
    for (const Target& target : supported_targets()) names.append(target.name);
    return names;
  });
  enter<CNNX_DTYPE>(module);
}

}  // namespace
