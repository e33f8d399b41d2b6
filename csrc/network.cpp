#include "network.hpp"

#include <algorithm>
#include <array>
#include <atomic>

namespace cnnx {
namespace {

// From this number of samples on, packing weights saves more time than it costs.
constexpr Index worth_packing = 8;

template <class T>
bool are_finite(const T* values, int count) {
  T sum = 0;
  for (int i = 0; i < count; ++i) sum += values[i] - values[i];  // 0, or a NaN for an inf or a NaN
  return sum == 0;
}

template <class T>
bool are_small(const T* values, Index count) {
  return active_target().kernels<T>().are_small(values, count);
}

// Whether the plan can take all images, whatever their pixels are. Bytes are never too large.
template <class T>
bool takes_all(const Plan<T>& plan, const Images<T>& images) {
  return !plan.needs_small() || images.values == nullptr;
}

template <class T>
bool has_batch_norm(const std::vector<Layer<T>>& layers) {
  return std::any_of(layers.begin(), layers.end(),
                     [](const auto& layer) { return std::holds_alternative<BatchNormLayer<T>>(layer); });
}

}  // namespace

// The memory of one call of predict.
template <class T>
struct Network<T>::Context {
  explicit Context(const Plan<T>& plan) : parameters(plan.new_values()) {}

  PackedValues<T> parameters;
  std::vector<std::unique_ptr<Workspace<T>>> workspaces;  // for each thread, as many as samples go through at once
  std::vector<Buffer<T>> desks;                           // one for each thread
};

// The contexts that no call is using, for the next calls.
template <class T>
class Network<T>::Contexts {
 public:
  explicit Contexts(const Plan<T>& plan) : plan_(plan) {}

  std::unique_ptr<Context> take(int threads) {
    std::unique_ptr<Context> context;
    {
      const std::lock_guard lock(mutex_);
      if (!free_.empty()) {
        context = std::move(free_.back());
        free_.pop_back();
      }
    }
    if (context == nullptr) context = std::make_unique<Context>(plan_);
    while (context->desks.size() < static_cast<std::size_t>(threads)) {
      context->desks.push_back(new_buffer<T>(plan_.desk_size()));
      for (int k = 0; k < plan_.samples_at_once(); ++k) {
        context->workspaces.push_back(std::make_unique<Workspace<T>>(plan_, context->parameters));
        context->workspaces.back()->use_desk(context->desks.back().get());
      }
    }
    return context;
  }
  void give_back(std::unique_ptr<Context> context) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(context));
  }

 private:
  const Plan<T>& plan_;
  Mutex mutex_;
  std::vector<std::unique_ptr<Context>> free_;
};

template <class T>
Network<T>::Network(const std::vector<Layer<T>>& layers, const Shape& image, bool fuse)
    : fused_(layers, image, fuse),
      plain_(layers, image, false),
      folded_(fuse && has_batch_norm(layers) ? std::make_unique<Plan<T>>(layers, image, true, true) : nullptr),
      of_fused_(std::make_unique<Contexts>(folded_ != nullptr ? *folded_ : fused_)),
      of_plain_(std::make_unique<Contexts>(plain_)) {}

template <class T>
Network<T>::~Network() = default;

template <class T>
Trainer<T>& Network<T>::one_of(Trainers& trainers, bool plain) {
  auto& trainer = trainers[plain ? 1 : 0];
  if (trainer == nullptr) trainer = std::make_unique<Trainer<T>>(plain ? plain_ : fused_);
  return *trainer;
}

// Whether the fused plan can take some images.
template <class T>
bool Network<T>::images_are_small(const Images<T>& images, const std::int64_t* some, Index count) const {
  if (takes_all(fused_, images)) return true;
  const Index pixels = fused_.image().count();
  return std::all_of(some, some + count, [&](Index i) { return are_small(images.values + i * pixels, pixels); });
}

// If the fused plan cannot take the images of a step, this step uses the plain plan, but the others do not. So the
// result depends on the images, not on how training is cut into windows.
template <class T>
void Network<T>::train(const Images<T>& images, const Batches<T>& batches, const Optimizer<T>& optimizer, int threads,
                       const Results<T>& results) {
  const std::lock_guard lock(training_);
  const bool is_new = trainers_[0] == nullptr && trainers_[1] == nullptr;
  if (is_new || batches.samples_before == 0) {
    trains_plain_ = !fused_.filters_are_small();
    for (const auto& trainer : trainers_)
      if (trainer != nullptr) trainer->forget();
  }
  const auto needs_plain = [&](Index step) {
    const Index first = step * batches.batch_size, count = std::min(batches.batch_size, batches.samples - first);
    return trains_plain_ || !images_are_small(images, batches.order + first, count);
  };
  const bool are_alike = trains_plain_ || takes_all(fused_, images);
  for (Index step = 0, end; step < batches.steps(); step = end) {
    const bool plain = needs_plain(step);
    end = are_alike ? batches.steps() : step + 1;
    while (end < batches.steps() && needs_plain(end) == plain) ++end;
    const Index first = step * batches.batch_size;
    one_of(trainers_, plain)
        .train(images, batches.between(step, end, nodes()), optimizer, threads, results.from(first, nodes()), writing_);
  }
}

// Only the fused plan has weights that unpacking rounds.
template <class T>
typename Network<T>::Place Network<T>::place() {
  const std::lock_guard lock(training_);
  Place place{{}, 0, trains_plain_};
  if (trainers_[0] != nullptr) {
    place.packed = trainers_[0]->held();
    place.steps = trainers_[0]->steps_held();
  }
  return place;
}

template <class T>
void Network<T>::continue_at(const Place& place) {
  const std::lock_guard lock(training_);
  if (!place.packed.empty() && static_cast<Index>(place.packed.size()) != fused_.packed_size())
    throw std::invalid_argument("packed: expected " + std::to_string(fused_.packed_size()) + " numbers, got " +
                                std::to_string(place.packed.size()));
  trains_plain_ = place.plain;
  for (const auto& trainer : trainers_)
    if (trainer != nullptr) trainer->forget();
  auto& fused = one_of(trainers_, false);
  if (!place.packed.empty()) fused.hold(place.packed, place.steps);
}

template <class T>
void Network<T>::gradient(const Images<T>& images, const Batches<T>& batch, int threads, T* flat,
                          const Results<T>& results) {
  const std::lock_guard lock(training_);
  if (results.d_images == nullptr) {
    Trainer<T>& trainer = one_for(images, batch);
    trainer.gradient(images, batch, threads, flat, results);
    const std::lock_guard writing(writing_);
    if (batch.moves_buffers) trainer.write_buffers();
    return;
  }
  if (of_images_ == nullptr) of_images_ = std::make_unique<Trainer<T>>(plain_, true);
  of_images_->gradient(images, batch, threads, flat, results);
}

template <class T>
void Network<T>::forward(const Images<T>& images, const Batches<T>& batch, int threads, const Results<T>& results) {
  const std::lock_guard lock(training_);
  one_for(images, batch).forward(images, batch, threads, results);
}

// The trainer that computes the gradient of a batch.
template <class T>
Trainer<T>& Network<T>::one_for(const Images<T>& images, const Batches<T>& batch) {
  const bool plain = !fused_.filters_are_small() || !images_are_small(images, batch.order, batch.samples);
  return one_of(gradients_, plain);
}

template <class T>
void Network<T>::apply(const T* flat, const Optimizer<T>& optimizer, double learn_rate) {
  const std::lock_guard lock(training_);
  const std::lock_guard writing(writing_);
  cnnx::apply(fused_, flat, optimizer, learn_rate);
}

// One call of predict, on one of the plans.
template <class T>
struct Network<T>::Prediction {
  const Plan<T>& plan;
  Contexts& contexts;
  const Images<T>& images;
  const Loss<T>& loss;
  const Results<T>& results;
  int threads;
  SharedMutex& writing;

  // Computes the images for which wants(i) is true. For an image that needs the plain plan, it calls leave(i) instead.
  template <class Wants, class Leave>
  void compute(const Wants& wants, const Leave& leave) const {
    auto context = contexts.take(threads);
    PackedValues<T>& parameters = context->parameters;
    parameters.are_packed = images.count >= worth_packing;
    SharedLock reading(writing);
    plan.pack(parameters);
    if (parameters.are_packed) reading.unlock();

    // A thread that is free takes the next few images, in whole blocks, because threads are seldom equally fast.
    const Index at_once = 64 / plan.samples_at_once() * plan.samples_at_once();
    std::atomic<Index> next{0};
    run_team(threads, [&](int thread, Barrier&) {
      const std::size_t block = static_cast<std::size_t>(plan.samples_at_once());
      const std::span mine(context->workspaces.begin() + static_cast<std::ptrdiff_t>(block) * thread, block);
      std::array<Index, most_at_once> loaded;  // indices of images; an array, because a team's body must not throw
      std::size_t count = 0;
      const auto predict_loaded = [&] {
        predict(mine.first(count), loaded, leave);
        count = 0;
      };
      for (const auto& w : mine) w->sample.training = false;
      for (Index first = next.fetch_add(at_once); first < images.count; first = next.fetch_add(at_once)) {
        for (Index i = first; i < std::min(first + at_once, images.count); ++i) {
          if (!wants(i)) continue;
          if (!fits(i)) {
            leave(i);
            continue;
          }
          load(*mine[count], images, i, nullptr, 0, plan.image());
          loaded[count++] = i;
          if (count == block) predict_loaded();
        }
        if (count > 0) predict_loaded();
      }
    });
    contexts.give_back(std::move(context));
  }

  // Whether the plan can take an image.
  bool fits(Index i) const {
    const Index pixels = plan.image().count();
    return takes_all(plan, images) || are_small(images.values + i * pixels, pixels);
  }

  template <class Leave>
  void predict(std::span<const std::unique_ptr<Workspace<T>>> block, const std::array<Index, most_at_once>& loaded,
               const Leave& leave) const {
    plan.forward(block);
    for (std::size_t k = 0; k < block.size(); ++k) {
      const Index i = loaded[k];
      const T* const totals = block[k]->values.back().get();
      if (plan.needs_small() && !are_finite(totals, plan.nodes())) {  // some weight is too large
        leave(i);
        continue;
      }
      LossPass<T> pass = block[k]->loss_pass(plan.output_function(), false);
      if (results.outputs != nullptr) pass.outputs = results.outputs + i * plan.nodes();
      const Outcome outcome = loss(pass, i);
      if (results.losses != nullptr) results.losses[i] = outcome.loss;
      if (results.correct != nullptr) results.correct[i] = outcome.correct;
    }
  }
};

template <class T>
void Network<T>::predict(const Images<T>& images, const Loss<T>& loss, int threads, const Results<T>& results) {
  const SubnormalsAreZero mode;
  const Plan<T>& best = folded_ != nullptr ? *folded_ : fused_;
  const auto all = [](Index) { return true; };
  const Prediction plain{plain_, *of_plain_, images, loss, results, threads, writing_};
  const bool small = [&] {
    const SharedLock reading(writing_);
    return best.filters_are_small();
  }();
  if (!small) {
    plain.compute(all, [](Index) {});
    return;
  }
  std::vector<char> left(static_cast<std::size_t>(images.count));
  std::atomic<bool> some_left{false};
  const Prediction fused{best, *of_fused_, images, loss, results, threads, writing_};
  fused.compute(all, [&](Index i) {
    left[static_cast<std::size_t>(i)] = 1;
    some_left = true;
  });
  if (some_left) plain.compute([&](Index i) { return left[static_cast<std::size_t>(i)] != 0; }, [](Index) {});
}

template class Network<float>;
template class Network<double>;

}  // namespace cnnx
