// The loops over many samples. python/cnnx/network.py gives them their API and their error messages.
#include <pybind11/stl.h>

#include <mutex>
#include <stdexcept>

#include "arrays.hpp"
#include "bind.hpp"
#include "network.hpp"

namespace cnnx {
namespace {

// A network and the numpy arrays whose memory it borrows.
template <class T>
class BoundNetwork {
 public:
  BoundNetwork(const py::list& layers, int height, int width) : network_(plan(layers), height, width) {}

  void train(const py::array& images, const py::array& labels, const py::array& order, double learn_rate,
             py::array losses, py::array correct) {
    const auto samples = checked_images(images);
    const Index steps = order.ndim() == 1 ? order.shape(0) : 0;
    const int count = static_cast<int>(steps);
    const auto* const label = checked<std::int32_t>(labels, "labels", {static_cast<int>(samples.count)});
    const auto* const index = checked<std::int64_t>(order, "order", {count});
    const Results<T> results{nullptr, checked<double>(losses, "losses", {count}, Access::write),
                             checked<bool>(correct, "correct", {count}, Access::write)};
    for (Index i = 0; i < steps; ++i) {
      if (index[i] < 0 || index[i] >= samples.count) throw py::index_error("order: expected indices of images");
      check_label(label[index[i]]);
    }
    const py::gil_scoped_release release;
    const std::lock_guard lock(mutex_);
    network_.train(samples, label, index, steps, static_cast<T>(learn_rate), results);
  }

  py::array_t<T> predict(const py::array& images, int threads) {
    const auto samples = checked_images(images);
    auto probabilities = new_array<T>({static_cast<int>(samples.count), network_.nodes()});
    const Results<T> results{probabilities.mutable_data(), nullptr, nullptr};
    {
      const py::gil_scoped_release release;
      const std::lock_guard lock(mutex_);
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
      const std::lock_guard lock(mutex_);
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
        const auto filters = parameter(1);
        T* const data = checked<T>(filters, "filters", {any_size, 3, 3}, Access::write);
        plan.push_back(Conv3x3Layer<T>{data, size_of(filters, 0)});
      } else if (kind == "MaxPool2") {
        plan.push_back(MaxPool2Layer{layer[1].cast<bool>() ? Ties::first : Ties::all});
      } else if (kind == "Softmax") {
        const auto weights = parameter(1), biases = parameter(2);
        T* const data = checked<T>(weights, "weights", {any_size, any_size}, Access::write);
        const DenseShape shape{size_of(weights, 0), size_of(weights, 1)};
        plan.push_back(SoftmaxLayer<T>{data, checked<T>(biases, "biases", {shape.nodes}, Access::write), shape});
      } else {
        throw py::value_error("layers: expected Conv3x3, MaxPool2 or Softmax, got " + kind);
      }
    }
    return plan;
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
  std::mutex mutex_;  // one call at a time: calls share the workspaces
};

template <class T>
void bind(py::module_& module, const char* name) {
  using namespace py::literals;
  using Bound = BoundNetwork<T>;
  const auto array = [](const char* argument) { return py::arg(argument).noconvert(); };
  py::class_<Bound>(module, name)
      .def(py::init<const py::list&, int, int>(), "layers"_a, "height"_a, "width"_a)
      .def("train", &Bound::train, array("images"), array("labels"), array("order"), "learn_rate"_a, array("losses"),
           array("correct"))
      .def("predict", &Bound::predict, array("images"), "threads"_a)
      .def("evaluate", &Bound::evaluate, array("images"), array("labels"), "threads"_a);
}

}  // namespace

void bind_network(py::module_& module) {
  bind<float>(module, "NetworkFloat32");
  bind<double>(module, "NetworkFloat64");
}

}  // namespace cnnx
