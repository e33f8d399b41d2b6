// The table of kernels for Python: `float32.NAME(target, count, arguments)` calls a target's kernel `count` times and
// returns the seconds that it took and what the last call returned. kernels.py compiles it against an installed core.
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

py::object to_python(const Outcome& outcome) {
  return py::make_tuple(outcome.loss, outcome.correct);
}
template <class R>
py::object to_python(const R& result) {
  return py::cast(result);
}

template <class R, class... A, std::size_t... i>
py::tuple call(R (*kernel)(A...) noexcept, long count, const py::args& from, std::index_sequence<i...>) {
  if (from.size() != sizeof...(A))
    throw py::type_error("expected " + std::to_string(sizeof...(A)) + " arguments, got " + std::to_string(from.size()));
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
}

template <class T>
struct Table {
  py::module_ module;
  py::list names;

  template <class R, class... A>
  void enter(const char* name, R (*Kernels<T>::*kernel)(A...) noexcept) {
    module.def(name, [kernel](std::size_t target, long count, const py::args& arguments) {
      return call(supported_targets().at(target).kernels<T>().*kernel, count, arguments,
                  std::index_sequence_for<A...>{});
    });
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
void enter(py::module_ module) {
  using K = Kernels<T>;
  enter_struct<SparseGradient<T>, int*, int*, T*, int*, int*, T*>(module, "SparseGradient");
  enter_struct<PooledImage<T>, const T*, T, const int*, int, const int*, T*, T*, T*>(module, "PooledImage");
  enter_struct<DenseInput<T>, const T*, const T*, const int*, int>(module, "DenseInput");
  enter_struct<BatchNormValues<T>, const T*, const T*, T*, T*, T*, T*, T*, T*, T*, T*>(module, "BatchNormValues");
  module.def("conv_pool_kept_size", conv_pool_kept_size<T>);
  module.def("packed_dense_size", [](const DenseShape& shape) { return shape.packed_size<T>(); });

  Table<T> table{module, py::list()};
  table.enter("pack_filters", &K::pack_filters);
  table.enter("unpack_filters", &K::unpack_filters);
  table.enter("pack_flipped_filters", &K::pack_flipped_filters);
  table.enter("add_unpacked_filters", &K::add_unpacked_filters);
  table.enter("conv3x3_forward", &K::conv3x3_forward);
  table.enter("conv3x3_backward_filters", &K::conv3x3_backward_filters);
  table.enter("conv3x3_backward_input", &K::conv3x3_backward_input);
  table.enter("conv3x3_gather", &K::conv3x3_gather);
  table.enter("conv3x3_backward_filters_sparse", &K::conv3x3_backward_filters_sparse);
  table.enter("conv3x3_backward_input_sparse", &K::conv3x3_backward_input_sparse);
  table.enter("max_pool2_forward", &K::max_pool2_forward);
  table.enter("max_pool2_backward", &K::max_pool2_backward);
  table.enter("scale_pixels", &K::scale_pixels);
  table.enter("find_foreground_in_bytes", &K::find_foreground_in_bytes);
  table.enter("find_foreground", &K::find_foreground);
  table.enter("are_small", &K::are_small);
  table.enter("conv_pool_forward", &K::conv_pool_forward);
  table.enter("conv_pool_backward", &K::conv_pool_backward);
  table.enter("spread_background", &K::spread_background);
  table.enter("sum_background", &K::sum_background);
  table.enter("dense_forward", &K::dense_forward);
  table.enter("dense_backward_update", &K::dense_backward_update);
  table.enter("dense_pack", &K::dense_pack);
  table.enter("dense_unpack", &K::dense_unpack);
  table.enter("dense_fold", &K::dense_fold);
  table.enter("dense_forward_packed", &K::dense_forward_packed);
  table.enter("dense_backward_update_packed", &K::dense_backward_update_packed);
  table.enter("dense_backward_packed", &K::dense_backward_packed);
  table.enter("dense_forward_block", &K::dense_forward_block);
  table.enter("dense_backward_block", &K::dense_backward_block);
  table.enter("conv_pool_dense_forward", &K::conv_pool_dense_forward);
  table.enter("conv_pool_dense_backward_update", &K::conv_pool_dense_backward_update);
  table.enter("conv_pool_dense_backward", &K::conv_pool_dense_backward);
  table.enter("batch_norm_moments", &K::batch_norm_moments);
  table.enter("batch_norm_take_running", &K::batch_norm_take_running);
  table.enter("batch_norm_take_batch", &K::batch_norm_take_batch);
  table.enter("batch_norm_take_gradient", &K::batch_norm_take_gradient);
  table.enter("batch_norm_forward", &K::batch_norm_forward);
  table.enter("batch_norm_sums", &K::batch_norm_sums);
  table.enter("batch_norm_backward", &K::batch_norm_backward);
  table.enter("relu_forward", &K::relu_forward);
  table.enter("relu_backward", &K::relu_backward);
  table.enter("dropout", &K::dropout);
  table.enter("add", &K::add);
  table.enter("add_as_tree", &K::add_as_tree);
  table.enter("count_nonzero", &K::count_nonzero);
  table.enter("scale", &K::scale);
  table.enter("sgd_update", &K::sgd_update);
  table.enter("sgd_momentum_update", &K::sgd_momentum_update);
  table.enter("adam_update", &K::adam_update);
  table.enter("softmax_forward", &K::softmax_forward);
  table.enter("softmax_backward", &K::softmax_backward);
  table.enter("softmax_loss", &K::softmax_loss);
  module.attr("names") = table.names;
  if (table.names.size() != sizeof(K) / sizeof(void (*)()))
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
    return BatchNormShape{height, width, channels, pool, pool, Ties::first};
  }));
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
  enter<float>(module.def_submodule("float32"));
  enter<double>(module.def_submodule("float64"));
}

}  // namespace
