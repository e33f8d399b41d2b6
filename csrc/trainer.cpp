// The loops that train. Threads live for one call and meet at a barrier twice a step.
#include <atomic>
#include <barrier>
#include <system_error>
#include <thread>

#include "network.hpp"
#include "stages/gradients.hpp"

namespace cnnx {

template <class T>
class Trainer {
 public:
  Trainer(Network<T>& network, const Images<T>& images, const std::int32_t* labels, const Batches& batches,
          const Results<T>& results)
      : network_(network),
        stages_(network.stages_),
        images_(images),
        labels_(labels),
        batches_(batches),
        results_(results) {}

  bool can_go_one_by_one(const Optimizer<T>& optimizer) const {
    return std::holds_alternative<std::monostate>(optimizer.settings) && batches_.batch_size == 1 &&
           std::all_of(stages_.begin(), stages_.end(), [](const auto& stage) { return stage->can_update(); });
  }

  // The article's loop: each sample's update happens in the sweep that computes its gradient.
  void go_one_by_one() {
    Workspace<T>& w = network_.workspace(0);
    for (const auto& stage : stages_) stage->begin_updates(batches_.samples_before == 0);
    for (Index step = 0; step < batches_.samples; ++step) {
      const T learn_rate = static_cast<T>(batches_.learn_rates[step]);
      forward(w, step);
      for (auto stage = stages_.rbegin(); stage != stages_.rend(); ++stage) (*stage)->backward_update(w, learn_rate);
    }
    for (const auto& stage : stages_) stage->end_updates();
  }

  // Leaves each step's mean gradient in the network's first shard and calls update(step), in one thread, before the
  // next step.
  template <class Update>
  void for_gradients(int threads, Update&& update) {
    Gradients<T>& g = *network_.gradients_;
    network_.workspace(static_cast<std::size_t>(threads) - 1);  // all memory before the first thread: none can fail
    const auto& kernels = active_target().kernels<T>();
    std::atomic<Index> next_shard{0};
    std::barrier all_here(threads);

    const auto run = [&](int thread) {
      Workspace<T>& w = *network_.workspaces_[static_cast<std::size_t>(thread)];
      for (Index step = 0; step < batches_.steps(); ++step) {
        const Index first = step * batches_.batch_size, count = std::min(batches_.batch_size, batches_.samples - first);
        const Index shards = std::min(count, most_shards);
        for (Index shard = next_shard++; shard < shards; shard = next_shard++) {
          T* const gradient = g.shards[shard].get();
          std::memset(gradient, 0, sizeof(T) * static_cast<std::size_t>(g.size));
          for (Index i = count * shard / shards; i < count * (shard + 1) / shards; ++i) {
            forward(w, first + i);
            for (auto at = stages_.size(); at-- > 0;) stages_[at]->backward(w, gradient + g.offset[at]);
          }
        }
        all_here.arrive_and_wait();
        if (thread == 0) {
          for (Index shard = 1; shard < shards; ++shard) kernels.add(g.shards[0].get(), g.shards[shard].get(), g.size);
          kernels.scale(g.shards[0].get(), T{1} / static_cast<T>(count), g.size);
          update(step);
          next_shard = 0;
        }
        all_here.arrive_and_wait();
      }
    };
    std::vector<std::jthread> others;
    int thread = 1;
    try {
      for (; thread < threads; ++thread) others.emplace_back(run, thread);
    } catch (const std::system_error&) {  // the others do the work: they must not wait for those that never came
      for (; thread < threads; ++thread) all_here.arrive_and_drop();
    }
    run(0);
  }

  // The mean gradient as numpy has the parameters.
  void unpack_gradient(T* flat) const {
    const Gradients<T>& g = *network_.gradients_;
    for (std::size_t i = 0; i < stages_.size(); ++i) {
      stages_[i]->unpack_gradient(flat, g.shards[0].get() + g.offset[i]);
      for (const auto& slice : stages_[i]->parameters()) flat += slice.count;
    }
  }

 private:
  // One sample's way to its loss, and the loss's gradient for the totals; `sample` counts from the first of the
  // batches.
  void forward(Workspace<T>& w, Index sample) const {
    const Index image = batches_.order[sample];
    w.training = true;
    w.key = random_key(batches_.seed, static_cast<std::uint64_t>(batches_.samples_before + sample));
    network_.load(w, images_, image, batches_.maps != nullptr ? batches_.maps + 6 * sample : nullptr);
    if (sample + 1 < batches_.samples) network_.prefetch(images_, batches_.order[sample + 1]);
    for (const auto& stage : stages_) stage->forward(w);
    const Outcome result = network_.outcome(w, labels_[image]);
    results_.losses[sample] = result.loss;
    results_.correct[sample] = result.correct;
    w.gradients.back()[static_cast<std::size_t>(labels_[image])] -= 1;  // d_totals = p - 1 at the label
  }

  Network<T>& network_;
  const std::vector<std::unique_ptr<Stage<T>>>& stages_;
  const Images<T>& images_;
  const std::int32_t* labels_;
  const Batches& batches_;
  const Results<T>& results_;
};

template <class T>
void Network<T>::train(const Images<T>& images, const std::int32_t* labels, const Batches& batches,
                       const Optimizer<T>& optimizer, int threads, const Results<T>& results) {
  Trainer<T> trainer(*this, images, labels, batches, results);
  if (trainer.can_go_one_by_one(optimizer)) {
    trainer.go_one_by_one();
    return;
  }
  pack(batches.samples, true);
  if (gradients_ == nullptr) gradients_ = std::make_unique<Gradients<T>>(stages_, parameter_count_);
  Optimizer<T> next = optimizer;
  trainer.for_gradients(threads, [&](Index step) {
    T* const flat = gradients_->flat.get();
    trainer.unpack_gradient(flat);
    apply(flat, next, batches.learn_rates[step]);
    ++next.steps_before;
    pack(batches.samples, true);
  });
}

template <class T>
void Network<T>::gradient(const Images<T>& images, const std::int32_t* labels, const Batches& batch, int threads,
                          T* flat, const Results<T>& results) {
  Trainer<T> trainer(*this, images, labels, batch, results);
  if (gradients_ == nullptr) gradients_ = std::make_unique<Gradients<T>>(stages_, parameter_count_);
  pack(batch.samples, true);
  trainer.for_gradients(threads, [&](Index) { trainer.unpack_gradient(flat); });
}

template <class T>
void Network<T>::apply(const T* flat, const Optimizer<T>& optimizer, double learn_rate) {
  const auto& kernels = active_target().kernels<T>();
  const T rate = static_cast<T>(learn_rate);
  Index at = 0;
  for (const auto& stage : stages_)
    for (const auto& slice : stage->parameters()) {
      if (const auto* sgd = std::get_if<SgdSettings>(&optimizer.settings))
        kernels.sgd_momentum_update(slice.data, optimizer.first_state + at, flat + at, rate, *sgd, slice.count);
      else if (const auto* adam = std::get_if<AdamSettings>(&optimizer.settings))
        kernels.adam_update(slice.data, optimizer.first_state + at, optimizer.second_state + at, flat + at, rate,
                            optimizer.steps_before + 1, *adam, slice.count);
      else
        kernels.sgd_update(slice.data, flat + at, rate, slice.count);
      at += slice.count;
    }
}

template void Network<float>::train(const Images<float>&, const std::int32_t*, const Batches&, const Optimizer<float>&,
                                    int, const Results<float>&);
template void Network<double>::train(const Images<double>&, const std::int32_t*, const Batches&,
                                     const Optimizer<double>&, int, const Results<double>&);
template void Network<float>::gradient(const Images<float>&, const std::int32_t*, const Batches&, int, float*,
                                       const Results<float>&);
template void Network<double>::gradient(const Images<double>&, const std::int32_t*, const Batches&, int, double*,
                                        const Results<double>&);
template void Network<float>::apply(const float*, const Optimizer<float>&, double);
template void Network<double>::apply(const double*, const Optimizer<double>&, double);

}  // namespace cnnx
