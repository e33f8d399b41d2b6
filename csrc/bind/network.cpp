// The loops over many samples. python/cnnx/network.py gives them their API and their error messages.
#include "../network.hpp"

#include <pybind11/stl.h>

#include "areas.hpp"
#include "layers.hpp"

namespace cnnx {
namespace {

// Stochastic gradient descent; without a velocity it is plain.
struct BoundSGD {
  double momentum = 0;
  bool nesterov = false;
  double weight_decay = 0;
  py::object velocity;
};

// What Adam has seen before: its moments and the number of its steps.
struct BoundAdam {
  double beta1, beta2, epsilon, weight_decay;
  py::array first_moment, second_moment;
  Index steps_before;
};

using BoundOptimizer = std::variant<BoundSGD, BoundAdam>;

// A network and the numpy arrays whose memory it borrows.
template <class T>
class BoundNetwork {
 public:
  BoundNetwork(std::vector<BoundLayer> layers, int height, int width, bool fuse)
      : bound_(std::move(layers)), layers_(checked_layers(Access::read)), network_(layers_, height, width, fuse) {}

  Index parameter_count() const { return network_.parameter_count(); }

  // `order` names the samples, one or more batches of them; `learn_rates` has one number a batch.
  void train(const py::array& images, const py::array& labels, const py::array& order, Index batch_size,
             const py::array& learn_rates, const BoundOptimizer& optimizer, const py::object& maps, std::uint64_t seed,
             Index samples_before, int threads, py::array losses, py::array correct) {
    check_arrays(Access::write);
    const auto samples = checked_images(images);
    auto batches = checked_batches(labels, order, batch_size, maps, seed, samples_before, samples.count);
    batches.learn_rates = checked<double>(learn_rates, "learn_rates", {static_cast<int>(batches.steps())});
    const auto results = checked_results(losses, correct, batches.samples);
    const auto settings = checked_optimizer(optimizer);
    const py::gil_scoped_release release;
    network_.train(samples, static_cast<const std::int32_t*>(labels.data()), batches, settings, threads, results);
  }

  void gradient(const py::array& images, const py::array& labels, const py::array& order, std::uint64_t seed,
                Index samples_before, int threads, py::array flat, py::array losses, py::array correct) {
    check_arrays(Access::read);
    const auto samples = checked_images(images);
    const auto batch = checked_batches(labels, order, order.size(), py::none(), seed, samples_before, samples.count);
    const auto results = checked_results(losses, correct, batch.samples);
    T* const gradient = checked_flat(flat, "gradient", Access::write);
    const py::gil_scoped_release release;
    network_.gradient(samples, static_cast<const std::int32_t*>(labels.data()), batch, threads, gradient, results);
  }

  void apply(const py::array& flat, const BoundOptimizer& optimizer, double learn_rate) {
    check_arrays(Access::write);
    const T* const gradient = checked_flat(flat, "gradient", Access::read);
    const auto settings = checked_optimizer(optimizer);
    const py::gil_scoped_release release;
    network_.apply(gradient, settings, learn_rate);
  }

  py::array_t<T> predict(const py::array& images, int threads) {
    check_arrays(Access::read);
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
    check_arrays(Access::read);
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
  std::vector<Layer<T>> checked_layers(Access access) const {
    std::vector<Layer<T>> layers;
    layers.reserve(bound_.size());
    for (const auto& bound : bound_)
      std::visit([&](const auto& layer) { layers.push_back(layer.template layer<T>(access)); }, bound);
    return layers;
  }

  // Arrays may have been resized or frozen since the plan was made.
  void check_arrays(Access access) const {
    const auto now = checked_layers(access);
    for (std::size_t i = 0; i < now.size(); ++i)
      if (now[i] != layers_[i])
        throw py::value_error("layers[" + std::to_string(i) +
                              "]: expected the arrays that the network was made with, got resized ones");
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

  T* checked_flat(const py::array& flat, const char* name, Access access) const {
    return checked<T>(flat, name, {static_cast<int>(parameter_count())}, access);
  }

  Optimizer<T> checked_optimizer(const BoundOptimizer& optimizer) const {
    if (const auto* const adam = std::get_if<BoundAdam>(&optimizer))
      return {AdamSettings{adam->beta1, adam->beta2, adam->epsilon, adam->weight_decay},
              checked_flat(adam->first_moment, "first_moment", Access::write),
              checked_flat(adam->second_moment, "second_moment", Access::write), adam->steps_before};
    const auto& sgd = std::get<BoundSGD>(optimizer);
    if (sgd.velocity.is_none()) return {std::monostate{}, nullptr, nullptr, 0};
    return {SgdSettings{sgd.momentum, sgd.weight_decay, sgd.nesterov},
            checked_flat(py::array(sgd.velocity), "velocity", Access::write), nullptr, 0};
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

  const std::vector<BoundLayer> bound_;
  const std::vector<Layer<T>> layers_;
  Network<T> network_;
};

template <class T>
void bind(py::module_& module, const char* name) {
  using namespace py::literals;
  using Bound = BoundNetwork<T>;
  const auto array = [](const char* argument) { return py::arg(argument).noconvert(); };
  py::class_<Bound>(module, name)
      .def(py::init<std::vector<BoundLayer>, int, int, bool>(), "layers"_a, "height"_a, "width"_a, "fuse"_a = true)
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
  using namespace py::literals;
  const auto array = [](const char* argument) { return py::arg(argument).noconvert(); };
  py::class_<BoundSGD>(module, "SGD")
      .def(py::init<>([](double momentum, bool nesterov, double weight_decay, py::object velocity) {
             return BoundSGD{momentum, nesterov, weight_decay, std::move(velocity)};
           }),
           "momentum"_a = 0.0, "nesterov"_a = false, "weight_decay"_a = 0.0, "velocity"_a = py::none());
  py::class_<BoundAdam>(module, "Adam")
      .def(py::init<>([](double beta1, double beta2, double epsilon, double weight_decay, py::array first_moment,
                         py::array second_moment, Index steps_before) {
             return BoundAdam{
                 beta1, beta2, epsilon, weight_decay, std::move(first_moment), std::move(second_moment), steps_before};
           }),
           "beta1"_a, "beta2"_a, "epsilon"_a, "weight_decay"_a, array("first_moment"), array("second_moment"),
           "steps_before"_a);
  bind<float>(module, "NetworkFloat32");
  bind<double>(module, "NetworkFloat64");
}

}  // namespace cnnx
