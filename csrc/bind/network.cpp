// The loops over many samples. python/cnnx/network.py gives them their API and their error messages.
#include "../network.hpp"

#include <pybind11/stl.h>

#include <mutex>
#include <stdexcept>

#include "areas.hpp"
#include "arrays.hpp"
#include "conv3x3.hpp"

namespace cnnx {
namespace {

// A network and the numpy arrays whose memory it borrows.
template <class T>
class BoundNetwork {
 public:
  BoundNetwork(const py::list& layers, int height, int width) : network_(plan(layers), height, width) {}

  Index parameter_count() const { return network_.parameter_count(); }

  // `order` names the samples, one or more batches of them; `learn_rates` has one number a batch.
  void train(const py::array& images, const py::array& labels, const py::array& order, Index batch_size,
             const py::array& learn_rates, const py::tuple& optimizer, const py::object& maps, std::uint64_t seed,
             Index samples_before, int threads, py::array losses, py::array correct) {
    const auto samples = checked_images(images);
    const auto batches = checked_batches(labels, order, batch_size, maps, seed, samples_before, samples.count);
    const auto rates = checked<double>(learn_rates, "learn_rates", {static_cast<int>(batches.steps())});
    const auto results = checked_results(losses, correct, batches.samples);
    const auto settings = checked_optimizer(optimizer);
    auto all = batches;
    all.learn_rates = rates;
    const py::gil_scoped_release release;
    network_.train(samples, static_cast<const std::int32_t*>(labels.data()), all, settings, threads, results);
  }

  void gradient(const py::array& images, const py::array& labels, const py::array& order, std::uint64_t seed,
                Index samples_before, int threads, py::array flat, py::array losses, py::array correct) {
    const auto samples = checked_images(images);
    const Index size = order.size();
    const auto batch = checked_batches(labels, order, size, py::none(), seed, samples_before, samples.count);
    const auto results = checked_results(losses, correct, batch.samples);
    T* const gradient = checked<T>(flat, "gradient", {static_cast<int>(parameter_count())}, Access::write);
    const py::gil_scoped_release release;
    network_.gradient(samples, static_cast<const std::int32_t*>(labels.data()), batch, threads, gradient, results);
  }

  void apply(const py::array& flat, const py::tuple& optimizer, double learn_rate) {
    const T* const gradient = checked<T>(flat, "gradient", {static_cast<int>(parameter_count())});
    const auto settings = checked_optimizer(optimizer);
    const py::gil_scoped_release release;
    network_.apply(gradient, settings, learn_rate);
  }

  py::array_t<T> predict(const py::array& images, int threads) {
    const auto samples = checked_images(images);
    auto probabilities = new_array<T>({static_cast<int>(samples.count), network_.nodes()});
    const Results<T> results{probabilities.mutable_data(), nullptr, nullptr};
    {
      const py::gil_scoped_release release;
      network_.predict(samples, nullptr, threads, results);
    }
    return probabilities;
  }

  py::tuple evaluate(const py::array& images, const py::array& labels, int threads) {
    const auto samples = checked_images(images);
    const auto* const label = checked<std::int32_t>(labels, "labels", {static_cast<int>(samples.count)});
    for (Index i = 0; i < samples.count; ++i) check_label(label[i]);
    auto losses = new_array<double>({static_cast<int>(samples.count)});
    auto correct = new_array<bool>({static_cast<int>(samples.count)});
    const Results<T> results{nullptr, losses.mutable_data(), correct.mutable_data()};
    {
      const py::gil_scoped_release release;
      network_.predict(samples, label, threads, results);
    }
    return py::make_tuple(std::move(losses), std::move(correct));
  }

 private:
  std::vector<Layer<T>> plan(const py::list& layers) {
    std::vector<Layer<T>> plan;
    for (const auto& item : layers) {
      const auto layer = item.cast<py::tuple>();
      const auto kind = layer[0].cast<std::string>();
      const auto parameter = [&](std::size_t i) { return arrays_.emplace_back(layer[i].cast<py::array>()); };
      if (kind == "Conv3x3") {
        const auto filters = parameter(2);
        const py::object biases = layer[3].is_none() ? py::object(py::none()) : parameter(3);
        plan.push_back(checked_conv3x3<T>(filters, biases, layer[1].cast<bool>()));
      } else if (kind == "MaxPool2") {
        plan.push_back(MaxPool2Layer{layer[1].cast<bool>() ? Ties::first : Ties::all});
      } else if (kind == "ReLU") {
        plan.push_back(ReLULayer{});
      } else if (kind == "Dropout") {
        plan.push_back(DropoutLayer{layer[1].cast<double>()});
      } else if (kind == "Dense" || kind == "Softmax") {
        const auto weights = parameter(1), biases = parameter(2);
        T* const data = checked<T>(weights, "weights", {any_size, any_size}, Access::write);
        const int nodes = size_of(weights, 1);
        T* const bias = checked<T>(biases, "biases", {nodes}, Access::write);
        const DenseLayer<T> dense{data, bias, size_of(weights, 0), nodes};
        if (kind == "Softmax")
          plan.push_back(SoftmaxLayer<T>{dense});
        else
          plan.push_back(dense);
      } else {
        throw py::value_error("layers: expected a kind of layer that the core knows, got " + kind);
      }
    }
    return plan;
  }

  Batches checked_batches(const py::array& labels, const py::array& order, Index batch_size, const py::object& maps,
                          std::uint64_t seed, Index samples_before, Index images) const {
    const int samples = static_cast<int>(order.size());
    const auto* const label = checked<std::int32_t>(labels, "labels", {static_cast<int>(images)});
    const auto* const index = checked<std::int64_t>(order, "order", {samples});
    for (Index i = 0; i < samples; ++i) {
      if (index[i] < 0 || index[i] >= images) throw py::index_error("order: expected indices of images");
      check_label(label[index[i]]);
    }
    if (batch_size < 1) throw py::value_error("batch_size: expected at least 1");
    const double* const map =
        maps.is_none() ? nullptr : checked<double>(maps.cast<py::array>(), "maps", {samples, 2, 3});
    return {index, samples, batch_size, nullptr, map, seed, samples_before};
  }

  static Results<T> checked_results(const py::array& losses, const py::array& correct, Index samples) {
    const int count = static_cast<int>(samples);
    return {nullptr, checked<double>(losses, "losses", {count}, Access::write),
            checked<bool>(correct, "correct", {count}, Access::write)};
  }

  // ("sgd",), ("momentum", momentum, nesterov, weight_decay, velocity) or
  // ("adam", beta1, beta2, epsilon, weight_decay, first moment, second moment, steps before)
  Optimizer<T> checked_optimizer(const py::tuple& optimizer) const {
    const auto kind = optimizer[0].cast<std::string>();
    const auto number = [&](std::size_t i) { return optimizer[i].cast<double>(); };
    const auto state = [&](std::size_t i) {
      return checked<T>(optimizer[i].cast<py::array>(), "state", {static_cast<int>(parameter_count())}, Access::write);
    };
    if (kind == "sgd") return {std::monostate{}, nullptr, nullptr, 0};
    if (kind == "momentum") return {SgdSettings{number(1), number(3), optimizer[2].cast<bool>()}, state(4), nullptr, 0};
    if (kind == "adam")
      return {AdamSettings{number(1), number(2), number(3), number(4)}, state(5), state(6), optimizer[7].cast<Index>()};
    throw py::value_error("optimizer: expected sgd, momentum or adam, got " + kind);
  }

  Images<T> checked_images(const py::array& images) const {
    const std::initializer_list<int> shape{any_size, network_.height(), network_.width()};
    if (images.dtype().num() == py::dtype::num_of<std::uint8_t>()) {
      const auto* const bytes = checked<std::uint8_t>(images, "images", shape);
      return {bytes, nullptr, images.shape(0)};
    }
    const T* const values = checked<T>(images, "images", shape);
    return {nullptr, values, images.shape(0)};
  }

  void check_label(std::int32_t label) const {
    if (label < 0 || label >= network_.nodes())
      throw py::value_error("labels: expected 0 to " + std::to_string(network_.nodes() - 1) + ", got " +
                            std::to_string(label));
  }

  std::vector<py::array> arrays_;  // before network_, which its plan fills
  Network<T> network_;
};

template <class T>
void bind(py::module_& module, const char* name) {
  using namespace py::literals;
  using Bound = BoundNetwork<T>;
  const auto array = [](const char* argument) { return py::arg(argument).noconvert(); };
  py::class_<Bound>(module, name)
      .def(py::init<const py::list&, int, int>(), "layers"_a, "height"_a, "width"_a)
      .def_property_readonly("parameter_count", &Bound::parameter_count)
      .def("train", &Bound::train, array("images"), array("labels"), array("order"), "batch_size"_a,
           array("learn_rates"), "optimizer"_a, "maps"_a, "seed"_a, "samples_before"_a, "threads"_a, array("losses"),
           array("correct"))
      .def("gradient", &Bound::gradient, array("images"), array("labels"), array("order"), "seed"_a, "samples_before"_a,
           "threads"_a, array("gradient"), array("losses"), array("correct"))
      .def("apply", &Bound::apply, array("gradient"), "optimizer"_a, "learn_rate"_a)
      .def("predict", &Bound::predict, array("images"), "threads"_a)
      .def("evaluate", &Bound::evaluate, array("images"), array("labels"), "threads"_a);
}

}  // namespace

void bind_network(py::module_& module) {
  bind<float>(module, "NetworkFloat32");
  bind<double>(module, "NetworkFloat64");
}

}  // namespace cnnx
