// The loops over many samples. python/cnnx/network.py adds the public API and checks what arguments mean.
#include "../network.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cmath>

#include "areas.hpp"
#include "gil.hpp"
#include "layers.hpp"
#include "losses.hpp"
#include "ranks.hpp"

namespace cnnx {
namespace {

// Optimizers and their memory. `steps` (1,) is the number of steps taken. It changes in the same call as the
// parameters, so that no signal can come between them.

// Stochastic gradient descent with momentum and weight decay, or plain gradient descent if there is no velocity.
struct BoundSGD {
  py::array steps;
  double momentum;
  bool nesterov;
  double weight_decay;
  std::optional<py::array> velocity;
};

struct BoundAdam {
  py::array steps;
  double beta1, beta2, epsilon, weight_decay;
  py::array first_moment, second_moment;
};

using BoundOptimizer = std::variant<BoundSGD, BoundAdam>;

// Network<T>::Place of either dtype.
struct BoundPlace {
  std::optional<py::array> packed;
  Index steps;
  bool plain;
};

// The samples of a call, which are some of the images, and how each of them is read.
struct BoundSamples {
  py::array order;                // int64 (samples,), indices of images
  std::optional<py::array> maps;  // (samples, 2, 3)
  double background;
  std::uint64_t seed;
  Index samples_before;
};

// `count` is the number of all parameters.
template <class T>
Optimizer<T> checked_optimizer(const BoundOptimizer& optimizer, Index count) {
  const auto steps = [](const py::array& array) { return checked<std::int64_t>(array, "steps", {1}, Access::write); };
  const auto state = [&](const py::array& array, const char* name) {
    return checked<T>(array, name, {static_cast<int>(count)}, Access::write);
  };
  if (const auto* const adam = std::get_if<BoundAdam>(&optimizer))
    return {AdamSettings{adam->beta1, adam->beta2, adam->epsilon, adam->weight_decay},
            state(adam->first_moment, "first_moment"), state(adam->second_moment, "second_moment"), steps(adam->steps)};
  const auto& sgd = std::get<BoundSGD>(optimizer);
  if (!sgd.velocity.has_value()) return {std::monostate{}, nullptr, nullptr, steps(sgd.steps)};
  return {SgdSettings{sgd.momentum, sgd.weight_decay, sgd.nesterov}, state(*sgd.velocity, "velocity"), nullptr,
          steps(sgd.steps)};
}

// Takes one step on arrays that no network has. Each begins at its start in the flat array of all parameters.
void apply_to_arrays(const std::vector<py::array>& arrays, const std::vector<Index>& starts, const py::array& gradient,
                     const BoundOptimizer& optimizer, double learn_rate) {
  with_dtype(gradient, "gradient", [&]<class T>(T) {
    const T* const flat = checked<T>(gradient, "gradient", {any_size});
    if (arrays.size() != starts.size()) throw py::value_error("starts: expected one for each array");
    std::vector<Trained<T>> parts;
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      if (starts[i] < 0 || starts[i] > gradient.size() - arrays[i].size())
        throw py::index_error("starts: expected arrays within the gradient");
      parts.push_back({checked<T>(arrays[i], "arrays", Access::write), starts[i], arrays[i].size()});
    }
    apply(std::span<const Trained<T>>(parts), flat, checked_optimizer<T>(optimizer, gradient.size()), learn_rate);
  });
}

// The smallest and the largest number of an array, or two NaNs.
std::pair<double, double> range_of_array(const py::array& array, int threads) {
  return with_dtype(array, "array", [&]<class T>(T) -> std::pair<double, double> {
    const T* const values = checked<T>(array, "array");
    if (array.size() == 0) throw py::value_error("array: expected at least one number");
    const WithoutLock unlocked;
    const auto range = range_of(values, array.size(), threads);
    if (!range.is_finite) return {NAN, NAN};
    return {range.least, range.most};
  });
}

// A network of either dtype, so that each function is bound once.
class BoundNetwork {
 public:
  virtual ~BoundNetwork() = default;
  virtual Index parameter_count() const = 0;
  virtual py::dtype dtype() const = 0;
  virtual Index shards(Index samples) const = 0;
  // The samples are those of one or more batches. `learn_rates` has a number for each batch.
  // `average` moves towards the parameters and then the buffers after each batch, by the batch's share of the way.
  // `ranks` shares each batch with other processes (ranks.hpp), or is None.
  virtual void train(const py::array& images, const BoundLoss& loss, const BoundSamples& samples, Index batch_size,
                     const py::array& learn_rates, const BoundOptimizer& optimizer, int threads, py::array losses,
                     py::array correct, const std::optional<py::array>& average,
                     const std::optional<py::array>& average_shares, const py::object& ranks) = 0;
  virtual void gradient(const py::array& images, const BoundLoss& loss, const BoundSamples& samples, int threads,
                        py::array flat, py::array losses, py::array correct, const std::optional<py::array>& d_images,
                        bool moves_buffers) = 0;
  virtual py::array forward(const py::array& images, const BoundSamples& samples, int threads) = 0;
  virtual BoundPlace place() = 0;
  virtual void continue_at(const BoundPlace& place) = 0;
  virtual void apply(const py::array& flat, const BoundOptimizer& optimizer, double learn_rate) = 0;
  virtual py::array predict(const py::array& images, int threads) = 0;
  virtual py::typing::Tuple<py::array_t<double>, py::array_t<bool>> evaluate(const py::array& images,
                                                                             const BoundLoss& loss, int threads) = 0;
};

// A network of dtype T, and the numpy arrays that have its parameters.
template <class T>
class TypedNetwork final : public BoundNetwork {
 public:
  TypedNetwork(std::vector<BoundLayer> layers, const Shape& image, bool fuse)
      : bound_(std::move(layers)), layers_(checked_layers(Access::read)), network_(layers_, image, fuse) {}

  Index parameter_count() const override { return network_.parameter_count(); }
  py::dtype dtype() const override { return py::dtype::of<T>(); }
  Index shards(Index samples) const override { return network_.shards_of(samples); }

  void train(const py::array& images, const BoundLoss& loss, const BoundSamples& samples, Index batch_size,
             const py::array& learn_rates, const BoundOptimizer& optimizer, int threads, py::array losses,
             py::array correct, const std::optional<py::array>& average, const std::optional<py::array>& average_shares,
             const py::object& ranks) override {
    const py::object alive = itself();
    check_arrays(Access::write);
    const auto pixels = checked_images(images);
    auto batches = checked_batches(samples, pixels.count, batch_size);
    const auto in_order = ordered(loss, pixels.count, batches.order, batches.samples);
    batches.loss = in_order.loss();
    batches.learn_rates = checked<double>(learn_rates, "learn_rates", {static_cast<int>(batches.steps())});
    const auto results = checked_results(losses, correct, batches.samples);
    auto settings = checked_optimizer<T>(optimizer, parameter_count());
    if (average.has_value() != average_shares.has_value())
      throw py::value_error("average: expected average_shares with it, and neither without the other");
    if (average.has_value()) {
      const auto count = network_.parameter_count() + network_.buffer_count();
      settings.average = checked<T>(*average, "average", {static_cast<int>(count)}, Access::write);
      batches.average_shares = checked<double>(*average_shares, "average_shares", {static_cast<int>(batches.steps())});
    }
    std::optional<BoundRanks> bound_ranks;
    if (!ranks.is_none()) batches.ranks = &bound_ranks.emplace(ranks);
    const WithoutLock unlocked;
    network_.train(pixels, batches, settings, threads, results);
  }

  void gradient(const py::array& images, const BoundLoss& loss, const BoundSamples& samples, int threads,
                py::array flat, py::array losses, py::array correct, const std::optional<py::array>& d_images,
                bool moves_buffers) override {
    const py::object alive = itself();
    check_arrays(moves_buffers ? Access::write : Access::read);
    const auto pixels = checked_images(images);
    auto batch = checked_batches(samples, pixels.count, samples.order.size());
    const auto in_order = ordered(loss, pixels.count, batch.order, batch.samples);
    batch.loss = in_order.loss();
    batch.moves_buffers = moves_buffers;
    auto results = checked_results(losses, correct, batch.samples);
    if (d_images.has_value()) {
      const int count = static_cast<int>(batch.samples), values = static_cast<int>(network_.image().count());
      results.d_images = checked<T>(*d_images, "d_images", {count, values}, Access::write);
    }
    T* const gradient = checked_flat(flat, "gradient", Access::write);
    const WithoutLock unlocked;
    network_.gradient(pixels, batch, threads, gradient, results);
  }

  py::array forward(const py::array& images, const BoundSamples& samples, int threads) override {
    const py::object alive = itself();
    check_arrays(Access::read);
    const auto pixels = checked_images(images);
    const auto batch = checked_batches(samples, pixels.count, samples.order.size());
    auto outputs = new_array<T>({static_cast<int>(batch.samples), network_.nodes()});
    const Results<T> results{outputs.mutable_data(), nullptr, nullptr};
    {
      const WithoutLock unlocked;
      network_.forward(pixels, batch, threads, results);
    }
    return outputs;
  }

  BoundPlace place() override {
    check_arrays(Access::read);
    const auto place = [&] {
      const WithoutLock unlocked;
      return network_.place();
    }();
    if (place.packed.empty()) return {std::nullopt, place.steps, place.plain};
    auto packed = new_array<T>({static_cast<int>(place.packed.size())});
    std::copy(place.packed.begin(), place.packed.end(), packed.mutable_data());
    return {std::move(packed), place.steps, place.plain};
  }

  void continue_at(const BoundPlace& place) override {
    check_arrays(Access::read);
    typename Network<T>::Place given{{}, place.steps, place.plain};
    if (place.packed.has_value()) {
      const T* const packed = checked<T>(*place.packed, "packed", {any_size});
      given.packed.assign(packed, packed + place.packed->size());
    }
    const WithoutLock unlocked;
    network_.continue_at(given);
  }

  void apply(const py::array& flat, const BoundOptimizer& optimizer, double learn_rate) override {
    check_arrays(Access::write);
    const T* const gradient = checked_flat(flat, "gradient", Access::read);
    const auto settings = checked_optimizer<T>(optimizer, parameter_count());
    const WithoutLock unlocked;
    network_.apply(gradient, settings, learn_rate);
  }

  py::array predict(const py::array& images, int threads) override {
    const auto samples = checked_images(images);
    auto outputs = new_array<T>({static_cast<int>(samples.count), network_.nodes()});
    predict_in_parts(samples, {OutputsOnly{}, {}}, threads, {outputs.mutable_data(), nullptr, nullptr});
    return outputs;
  }

  py::typing::Tuple<py::array_t<double>, py::array_t<bool>> evaluate(const py::array& images, const BoundLoss& loss,
                                                                     int threads) override {
    const auto samples = checked_images(images);
    const auto in_order = ordered(loss, samples.count, nullptr, samples.count);
    auto losses = new_array<double>({static_cast<int>(samples.count)});
    auto correct = new_array<bool>({static_cast<int>(samples.count)});
    predict_in_parts(samples, in_order.loss(), threads, {nullptr, losses.mutable_data(), correct.mutable_data()});
    return py::make_tuple(std::move(losses), std::move(correct));
  }

 private:
  // Works in parts of some tenths of a second, and looks for Ctrl-C between them.
  void predict_in_parts(const Images<T>& images, const Loss<T>& loss, int threads, const Results<T>& results) {
    const py::object alive = itself();
    constexpr Index work_a_part = Index{1} << 31;
    const Index part = std::max<Index>(256, work_a_part / std::max<Index>(network_.work(), 1));
    for (Index first = 0; first < images.count; first += part) {
      check_arrays(Access::read);
      {
        const WithoutLock unlocked;
        network_.predict(images.from(first, std::min(part, images.count - first), network_.image()),
                         loss.from(first, network_.nodes()), threads, results.from(first, network_.nodes()));
      }
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    }
  }

  // A reference to the Python object, for calls that work without the interpreter's lock. An interpreter that ends
  // drops the references of its daemon threads while these still compute.
  py::object itself() { return py::cast(static_cast<BoundNetwork*>(this), py::return_value_policy::reference); }

  std::vector<Layer<T>> checked_layers(Access access) const {
    std::vector<Layer<T>> layers;
    layers.reserve(bound_.size());
    for (const auto& bound : bound_)
      std::visit([&](const auto& layer) { layers.push_back(layer.template layer<T>(access)); }, bound);
    return layers;
  }

  // Arrays may have been resized or made read-only since the plan was made.
  void check_arrays(Access access) const {
    const auto now = checked_layers(access);
    for (std::size_t i = 0; i < now.size(); ++i)
      if (now[i] != layers_[i])
        throw py::value_error("layers[" + std::to_string(i) +
                              "]: expected the arrays that the network was made with, got resized ones");
  }

  OrderedLoss<T> ordered(const BoundLoss& loss, Index images, const std::int64_t* order, Index samples) const {
    return OrderedLoss<T>(loss, images, network_.nodes(), order, samples);
  }

  static Batches<T> checked_batches(const BoundSamples& given, Index images, Index batch_size) {
    if (batch_size < 1) throw py::value_error("batch_size: expected at least 1");
    const auto* const order = checked<std::int64_t>(given.order, "order", {any_size});
    const int samples = static_cast<int>(given.order.size());
    for (int i = 0; i < samples; ++i)
      if (order[i] < 0 || order[i] >= images) throw py::index_error("order: expected indices of images");
    const double* const maps = given.maps.has_value() ? checked<double>(*given.maps, "maps", {samples, 2, 3}) : nullptr;
    return {order, {OutputsOnly{}, {}}, samples,    batch_size,          nullptr,
            maps,  given.background,    given.seed, given.samples_before};
  }

  static Results<T> checked_results(const py::array& losses, const py::array& correct, Index samples) {
    const int count = static_cast<int>(samples);
    return {nullptr, checked<double>(losses, "losses", {count}, Access::write),
            checked<bool>(correct, "correct", {count}, Access::write)};
  }

  T* checked_flat(const py::array& flat, const char* name, Access access) const {
    return checked<T>(flat, name, {static_cast<int>(parameter_count())}, access);
  }

  Images<T> checked_images(const py::array& images) const {
    if (images.dtype().num() == py::dtype::num_of<std::uint8_t>())
      return {checked_pixels<std::uint8_t>(images), nullptr, images.shape(0)};
    return {nullptr, checked_pixels<T>(images), images.shape(0)};
  }
  template <class Pixel>
  const Pixel* checked_pixels(const py::array& images) const {
    const Shape& image = network_.image();
    if (image.rank == 2) return checked<Pixel>(images, "images", {any_size, image.height, image.width});
    return checked<Pixel>(images, "images", {any_size, image.height, image.width, image.channels});
  }

  const std::vector<BoundLayer> bound_;
  const std::vector<Layer<T>> layers_;
  Network<T> network_;
};

std::unique_ptr<BoundNetwork> new_network(std::vector<BoundLayer> layers, const Sizes& image_shape,
                                          const py::dtype& dtype, bool fuse) {
  const Shape image = shape_of(image_shape);
  if (dtype.num() == py::dtype::num_of<float>())
    return std::make_unique<TypedNetwork<float>>(std::move(layers), image, fuse);
  return std::make_unique<TypedNetwork<double>>(std::move(layers), image, fuse);
}

}  // namespace

void bind_network(py::module_& module) {
  using namespace py::literals;
  const auto array = [](const char* argument) { return py::arg(argument).noconvert(); };
  py::class_<BoundSGD>(module, "SGD")
      .def(py::init<py::array, double, bool, double, std::optional<py::array>>(), array("steps"), "momentum"_a = 0.0,
           "nesterov"_a = false, "weight_decay"_a = 0.0, "velocity"_a = py::none());
  py::class_<BoundAdam>(module, "Adam")
      .def(py::init<py::array, double, double, double, double, py::array, py::array>(), array("steps"), "beta1"_a,
           "beta2"_a, "epsilon"_a, "weight_decay"_a, array("first_moment"), array("second_moment"));
  py::class_<BoundPlace>(module, "Place")
      .def(py::init<std::optional<py::array>, Index, bool>(), "packed"_a, "steps"_a, "plain"_a)
      .def_readonly("packed", &BoundPlace::packed)
      .def_readonly("steps", &BoundPlace::steps)
      .def_readonly("plain", &BoundPlace::plain);
  py::class_<BoundCrossEntropy>(module, "CrossEntropy")
      .def(py::init<py::array, std::optional<py::array>>(), array("targets"), "weights"_a = py::none());
  py::class_<BoundMeanSquaredError>(module, "MeanSquaredError")
      .def(py::init<py::array, std::optional<py::array>>(), array("rows"), "weights"_a = py::none());
  py::class_<BoundGivenGradient>(module, "GivenGradient")
      .def(py::init<py::array>(), array("rows"))
      .def_readonly("rows", &BoundGivenGradient::rows);
  py::class_<BoundSamples>(module, "Samples")
      .def(py::init<py::array, std::optional<py::array>, double, std::uint64_t, Index>(), array("order"),
           "maps"_a = py::none(), "background"_a = 0.0, "seed"_a = 0, "samples_before"_a = 0);
  module.def("apply", &apply_to_arrays, "arrays"_a, "starts"_a, array("gradient"), "optimizer"_a, "learn_rate"_a);
  module.def("range_of", &range_of_array, array("array"), "threads"_a,
             "Return the smallest and the largest number of a float array, or two NaNs if a number is not finite.");
  using Bound = BoundNetwork;
  py::class_<Bound>(module, "Network")
      .def(py::init(&new_network), "layers"_a, "image_shape"_a, "dtype"_a, "fuse"_a = true)
      .def_property_readonly("parameter_count", &Bound::parameter_count)
      .def_property_readonly("dtype", &Bound::dtype)
      .def("train", &Bound::train, array("images"), "loss"_a, "samples"_a, "batch_size"_a, array("learn_rates"),
           "optimizer"_a, "threads"_a, array("losses"), array("correct"), "average"_a = py::none(),
           "average_shares"_a = py::none(), "ranks"_a = py::none())
      .def("shards", &Bound::shards, "samples"_a)
      .def("gradient", &Bound::gradient, array("images"), "loss"_a, "samples"_a, "threads"_a, array("gradient"),
           array("losses"), array("correct"), "d_images"_a = py::none(), "moves_buffers"_a = false)
      .def("forward", &Bound::forward, array("images"), "samples"_a, "threads"_a)
      .def("place", &Bound::place)
      .def("continue_at", &Bound::continue_at, "place"_a)
      .def("apply", &Bound::apply, array("gradient"), "optimizer"_a, "learn_rate"_a)
      .def("predict", &Bound::predict, array("images"), "threads"_a)
      .def("evaluate", &Bound::evaluate, array("images"), "loss"_a, "threads"_a);
}

}  // namespace cnnx
