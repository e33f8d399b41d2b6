#include "trainer.hpp"

#include <algorithm>
#include <optional>

#include "ranks.hpp"

namespace cnnx {
namespace {

// Applies an optimizer's formula to `count` numbers, and sets the gradient to 0; `step` counts from 1. `others` is for
// the kernels.
template <class T>
void apply_formula(const Optimizer<T>& optimizer, T* parameters, T* first_state, T* second_state, T* gradient,
                   T learn_rate, Index step, Index count, const T* others = nullptr) {
  const auto& k = active_target().kernels<T>();
  if (const auto* sgd = std::get_if<SgdSettings>(&optimizer.settings))
    k.sgd_momentum_update(parameters, first_state, gradient, learn_rate, *sgd, count, others);
  else if (const auto* adam = std::get_if<AdamSettings>(&optimizer.settings))
    k.adam_update(parameters, first_state, second_state, gradient, learn_rate, step, *adam, count, others);
  else
    k.sgd_update(parameters, gradient, learn_rate, count, others);
}

template <class T>
Index steps_of(const Optimizer<T>& optimizer) {
  return optimizer.steps != nullptr ? static_cast<Index>(*optimizer.steps) : 0;
}

// What a sum of gradients is multiplied by.
template <class T>
T factor_of(const ShardedBatch& batch, const Batches<T>& batches) noexcept {
  return batches.loss.is_mean() ? T{1} / static_cast<T>(batch.samples) : T{1};
}

}  // namespace

template <class T>
struct Trainer<T>::Run {
  const Images<T>& images;
  const Batches<T>& batches;
  const Results<T>& results;
};

// It does not depend on the number of threads, and it is a power of two, for the tree in which shards are added. Each
// shard has a gradient of its own, and enough arithmetic that adding this gradient takes little of the time.
template <class T>
Index shards_of(const Plan<T>& plan, Index samples) noexcept {
  constexpr Index least_work = 32;  // multiplications for each parameter
  const Index worth = samples * plan.work() / (least_work * std::max<Index>(plan.parameter_count(), 1));
  Index shards = 1;
  while (2 * shards <= std::min({worth, samples, most_shards})) shards *= 2;
  return shards;
}

// A part reads the inputs of all samples, while a shard's gradient is as large as the parameters. So many samples of
// few parameters go by shards, and so do those that are too few for a part to be worth its calls.
template <class T>
bool Trainer<T>::can_go_by_parts(Index samples) const noexcept {
  constexpr Index most_reading = 4;  // activations for each parameter
  return !plan_.gradient_parts().empty() && samples > dense_block && samples <= dense_batch &&
         samples * plan_.activations() <= most_reading * plan_.parameter_count();
}

template <class T>
void Trainer<T>::check(const Batches<T>& batches) const {
  const Index last = batches.samples % batches.batch_size, least = last > 0 ? last : batches.batch_size;
  if (least < plan_.least_batch())
    throw std::invalid_argument("expected at least " + std::to_string(plan_.least_batch()) +
                                " samples in each batch, because BatchNorm needs more than one value, got " +
                                std::to_string(least));
}

template <class T>
int Trainer<T>::make_memory(Index samples, int threads, const Ranks* ranks) {
  const Index shards = shards_of(plan_, samples), of_a_rank = ranks != nullptr ? ranks->most(shards) : shards;
  threads = static_cast<int>(std::min<Index>(threads, of_a_rank));
  goes_by_parts_ = has_gradient_parts && ranks == nullptr && can_go_by_parts(samples);
  const auto at_once = static_cast<std::size_t>(threads * plan_.samples_at_once());
  const std::size_t in_flight = keeps_samples() ? static_cast<std::size_t>(samples) : at_once;
  while (scratches_.size() < static_cast<std::size_t>(threads))
    scratches_.push_back(std::make_unique<Scratch<T>>(plan_));
  while (desks_.size() < static_cast<std::size_t>(threads)) desks_.push_back(new_buffer<T>(plan_.desk_size()));
  while (workspaces_.size() < in_flight)
    workspaces_.push_back(std::make_unique<Workspace<T>>(plan_, parameters_, wants_d_images_));
  for (std::size_t own = 0; !keeps_samples() && own < in_flight; ++own) {
    const std::size_t thread = own / static_cast<std::size_t>(plan_.samples_at_once());
    workspaces_[own]->use(*scratches_[thread], static_cast<int>(own) % plan_.samples_at_once());
    workspaces_[own]->use_desk(desks_[thread].get());
  }
  plan_.make_statistics(parameters_, samples);
  if (gradients_[shards - 1] == nullptr) {
    shards_ = new_buffer<T>(shards * plan_.packed_size());
    for (Index shard = 0; shard < shards; ++shard) {
      gradients_[shard] = shards_.get() + shard * plan_.packed_size();
      are_clear_[shard] = true;
    }
  }
  seen_.resize(static_cast<std::size_t>(plan_.parameter_count()));
  return threads;
}

template <class T>
bool Trainer<T>::are_as_seen() const noexcept {
  const auto same = [&](const T* values, const T* seen, Index count) {
    return std::memcmp(values, seen, sizeof(T) * static_cast<std::size_t>(count)) == 0;
  };
  return std::all_of(plan_.parameters().begin(), plan_.parameters().end(), [&](const auto& p) {
    const T* const seen = seen_.data() + p->flat_offset;
    return same(p->arrays.weights, seen, p->weights_size) &&
           (p->arrays.biases == nullptr || same(p->arrays.biases, seen + p->weights_size, p->biases_size));
  });
}

template <class T>
void Trainer<T>::see() {
  for (const auto& p : plan_.parameters()) {
    T* const seen = seen_.data() + p->flat_offset;
    copy(seen, p->arrays.weights, p->weights_size);
    if (p->arrays.biases != nullptr) copy(seen + p->weights_size, p->arrays.biases, p->biases_size);
  }
  has_seen_ = true;
}

// Dense weights with a background are held as sums V_r + D, which unpacking rounds, and perhaps with an update that is
// left to the next step. Packing them again would change the result, so a later window continues with the packed
// parameters, unless the caller has changed its arrays.
template <class T>
void Trainer<T>::take_parameters() {
  plan_.read_buffers(parameters_);
  const auto can_continue = [&](const auto& p) { return p->can_continue(parameters_.of(*p)); };
  const auto& all = plan_.parameters();
  if (has_seen_ && are_as_seen() && std::all_of(all.begin(), all.end(), can_continue)) return;
  plan_.pack(parameters_);
  see();
  steps_ = 0;
}

template <class T>
std::vector<T> Trainer<T>::held() const {
  if (!has_seen_ || steps_ == 0 || !are_as_seen()) return {};
  const T* const values = parameters_.values.get();
  return {values, values + plan_.packed_size()};
}

template <class T>
void Trainer<T>::hold(const std::vector<T>& packed, Index steps) {
  const SubnormalsAreZero mode;
  const auto take = [&] { copy(parameters_.values.get(), packed.data(), plan_.packed_size()); };
  seen_.resize(static_cast<std::size_t>(plan_.parameter_count()));
  take();
  see();
  has_seen_ = false;
  for (const auto& p : plan_.parameters())
    if (!p->frozen) p->unpack(p->in(seen_.data()), parameters_.of(*p));
  if (!are_as_seen()) throw std::invalid_argument("packed: expected numbers that unpack to the parameters, got others");
  has_seen_ = true;
  plan_.derive(parameters_);
  take();  // because `derive` has added D to all rows
  steps_ = steps;
}

template <class T>
void Trainer<T>::train(const Images<T>& images, const Batches<T>& batches, const Optimizer<T>& optimizer, int threads,
                       const Results<T>& results, SharedMutex& writing) {
  check(batches);
  const SubnormalsAreZero mode;  // also while parameters are packed, so that a resumed run has the same bits
  // All memory is made before the first step, so that no allocation of the core's own can fail after it. Ranks may
  // allocate in every step.
  threads = make_memory(std::min(batches.batch_size, batches.samples), threads, batches.ranks);
  std::optional<SharedResults<T>> shared_results;
  if (batches.ranks != nullptr)
    shared_results.emplace(*batches.ranks, batches, [&](Index samples) { return shards_of(plan_, samples); });
  const auto make_state = [&](Buffer<T>& state, const T* given) {
    if (given != nullptr && state == nullptr) state = new_buffer<T>(plan_.packed_size());
  };
  make_state(first_state_, optimizer.first_state);
  make_state(second_state_, optimizer.second_state);
  make_state(average_, optimizer.average);
  take_parameters();
  has_seen_ = false;  // until this window is complete

  const auto for_states = [&](const auto& body) {
    for (const auto& p : plan_.parameters()) {
      if (optimizer.first_state != nullptr) body(*p, first_state_.get() + p->offset, p->in(optimizer.first_state));
      if (optimizer.second_state != nullptr) body(*p, second_state_.get() + p->offset, p->in(optimizer.second_state));
      if (optimizer.average != nullptr) body(*p, average_.get() + p->offset, p->in(optimizer.average));
    }
  };
  for_states([](const Packed<T>& p, T* packed, const Arrays<T>& given) { p.pack(packed, given); });

  const Run run{images, batches, results};
  const bool is_plain = std::holds_alternative<std::monostate>(optimizer.settings) && optimizer.average == nullptr;
  if (is_plain && batches.batch_size == 1 && !plan_.has_ties() && plan_.segments() == 1) {
    step_sample_by_sample(run);
  } else {
    if (steps_ > 0) plan_.derive(parameters_);  // an optimizer whose settings have changed takes over in mid-training
    steps_ = 0;
    step_batch_by_batch(run, threads, &optimizer);
  }
  if (shared_results.has_value()) shared_results->gather(*batches.ranks, results);

  const std::lock_guard lock(writing);
  plan_.unpack(parameters_);
  for_states([](const Packed<T>& p, const T* packed, const Arrays<T>& given) {
    if (!p.frozen) p.unpack(given, packed);
  });
  if (optimizer.steps != nullptr) *optimizer.steps += batches.steps();
  see();
}

template <class T>
void Trainer<T>::gradient(const Images<T>& images, const Batches<T>& batch, int threads, T* flat,
                          const Results<T>& results) {
  check(batch);
  const SubnormalsAreZero mode;
  threads = make_memory(batch.samples, threads);
  has_seen_ = false;
  take_parameters();
  step_batch_by_batch({images, batch, results}, threads, nullptr);
  for (const auto& p : plan_.parameters())
    if (p->frozen)
      std::fill_n(flat + p->flat_offset, p->count(), T{0});
    else
      p->unpack(p->in(flat), gradients_[0] + p->offset);
}

template <class T>
void Trainer<T>::forward(const Images<T>& images, const Batches<T>& batch, int threads, const Results<T>& results) {
  check(batch);
  const SubnormalsAreZero mode;
  threads = make_memory(batch.samples, threads);
  has_seen_ = false;
  take_parameters();
  step_batch_by_batch({images, batch, results}, threads, nullptr);
}

// The article's loop: each stage updates its parameters during the backward pass. A frozen stage only passes its
// gradient on, and what it adds to the scratch is not used.
template <class T>
void Trainer<T>::step_sample_by_sample(const Run& run) {
  Workspace<T>& w = *workspaces_[0];
  const auto& stages = plan_.stages();
  parameters_.in_place = true;
  T* const scratch = cleared_gradient(0);
  for (Index step = 0; step < run.batches.samples; ++step) {
    const T learn_rate = static_cast<T>(run.batches.learn_rates[step]);
    const Workspaces<T> block(&workspaces_[0], 1);
    load_samples(block, run, step);
    for (std::size_t i = 0; i < stages.size(); ++i) stages[i]->forward(w.passes[i]);
    take_losses(block, run, step);
    for (std::size_t i = stages.size(); i-- > w.goes_back_to;)
      if (stages[i]->is_frozen())
        stages[i]->backward(w.passes[i], scratch);
      else
        stages[i]->backward_update(w.passes[i], learn_rate, scratch);
    if (++steps_ % steps_a_derivation == 0) plan_.derive(parameters_);
  }
  are_clear_[0] = true;  // because each backward_update leaves its part at 0; nobody reads those of frozen stages
  parameters_.in_place = false;
}

// For each step, puts the gradient into the first shard, and then takes the optimizer's step, unless it is null. If the
// loss has no gradient, there is no backward pass. If the ranks throw, all threads stop at their next meeting.
template <class T>
void Trainer<T>::step_batch_by_batch(const Run& run, int threads, const Optimizer<T>* optimizer) {
  if (goes_by_parts()) return step_part_by_part(run, threads, optimizer);
  const Batches<T>& batches = run.batches;
  const bool has_gradient = batches.loss.has_gradient();
  const std::size_t last = plan_.segments() - 1;
  const Index size = plan_.packed_size();
  constexpr Index piece = 1 << 12;  // packed numbers; fewer take no longer than another meeting of the threads
  const Index pieces = (size + piece - 1) / piece;
  Ranks* const ranks = batches.ranks;
  SharedLoop loop(threads);    // over a rank's shards, or over pieces
  std::exception_ptr failure;  // written while the threads meet
  run_team(threads, [&](int thread, Barrier& all_threads) {
    const Index at_once = plan_.samples_at_once();
    for (Index step = 0; step < batches.steps(); ++step) {
      const Index first = step * batches.batch_size, count = std::min(batches.batch_size, batches.samples - first);
      const ShardedBatch batch{count, shards_of(plan_, count)};
      const Index first_shard = ranks != nullptr ? ranks->start(batch.shards, ranks->rank) : 0;
      const Index end_shard = ranks != nullptr ? ranks->start(batch.shards, ranks->rank + 1) : batch.shards;
      // Calls `alone` in one thread when all threads are here. Returns whether training goes on.
      const auto meet = [&](const auto& alone) {
        all_threads.meet([&] {
          try {
            alone();
          } catch (...) {
            failure = std::current_exception();
          }
          loop.restart();
        });
        return failure == nullptr;
      };
      // Calls body(block, its first sample, a gradient) for all samples of this rank, and then meets. begin(shard)
      // gives the gradient that a shard's samples add to.
      const auto for_samples = [&](const auto& begin, const auto& body, const auto& alone) {
        loop.take(thread, end_shard - first_shard, [&](Index number) {
          const Index shard = first_shard + number;
          T* const gradient = begin(shard);
          const Index end = batch.start(shard + 1);
          for (Index i = batch.start(shard); i < end; i += at_once)
            body(block(thread, i, std::min(at_once, end - i)), first + i, gradient);
        });
        return meet(alone);
      };
      // Calls body(first number, how many) for all packed numbers, and then meets.
      const auto for_pieces = [&](const auto& body, const auto& alone) {
        loop.take(thread, pieces, [&](Index number) { body(piece * number, std::min(piece, size - piece * number)); });
        return meet(alone);
      };
      const auto add = [&](Index at, Index numbers) { add_shards(batch, batches, at, numbers); };
      const auto complete = [&] { complete_gradient(batch, batches); };
      const auto move = [&](Index at, Index numbers) {
        const Index done = loop.done_beside(at / piece, pieces);
        update(*optimizer, batches, step, at, numbers, done < 0 ? nullptr : parameters_.values.get() + piece * done);
      };
      const auto derive = [&] { finish_update(*optimizer, batches, step); };
      const auto finish_alone = [&] {
        if (size > piece) return;
        if (has_gradient) add(0, size), complete();
        if (optimizer != nullptr) move(0, size), derive();
      };
      bool goes_on = true;
      for (std::size_t segment = 0; goes_on && segment <= last; ++segment)
        goes_on = for_samples(
            [&](Index shard) { return segment < last ? nullptr : cleared_gradient(shard); },
            [&](Workspaces<T> samples, Index at, T* gradient) { go_forward(samples, run, at, segment, gradient); },
            [&] {
              if (segment < last)
                meet_forward(segment + 1, batch, ranks);
              else if (last > 0 && has_gradient)
                meet_backward(last, batch, ranks);
              else
                finish_alone();
            });
      for (std::size_t segment = has_gradient ? last : 0; goes_on && segment-- > 0;)
        goes_on = for_samples(
            [&](Index shard) { return gradients_[shard]; },
            [&](Workspaces<T> samples, Index at, T* gradient) { go_back(samples, run, at, segment, gradient); },
            [&] {
              if (segment > 0)
                meet_backward(segment, batch, ranks);
              else
                finish_alone();
            });
      if (size > piece) {
        if (has_gradient) goes_on = goes_on && for_pieces(add, complete);
        if (optimizer != nullptr) goes_on = goes_on && for_pieces(move, derive);
      }
      if (!goes_on) return;
    }
  });
  if (failure == nullptr) return;
  std::fill_n(are_clear_, most_shards, false);  // any shard may hold what another rank has sent
  std::rethrow_exception(failure);
}

// The same, part by part: when all samples have gone through the plan, threads share the parts of the gradient, and the
// optimizer's step for each. No thread owns a shard's gradient, so work moves to a thread whose core is faster.
template <class T>
void Trainer<T>::step_part_by_part(const Run& run, int threads, const Optimizer<T>* optimizer) {
  const Batches<T>& batches = run.batches;
  const auto& parts = plan_.gradient_parts();
  const Index at_once = plan_.samples_at_once() / (threads > 1 ? 2 : 1);  // less, so that threads end together
  SharedLoop loop(threads);
  run_team(threads, [&](int thread, Barrier& all_threads) {
    const auto meet = [&](const auto& alone) {
      all_threads.meet([&] {
        alone();
        loop.restart();
      });
    };
    for (Index step = 0; step < batches.steps(); ++step) {
      const Index first = step * batches.batch_size, count = std::min(batches.batch_size, batches.samples - first);
      loop.take(thread, count, at_once,
                [&](Index i, Index some) { go_forward(block(thread, i, some), run, first + i, 0, nullptr); });
      meet([&] { are_clear_[0] = false; });
      if (!batches.loss.has_gradient()) continue;
      const ShardedBatch batch{count, shards_of(plan_, count)};
      const Workspaces<T> samples(workspaces_.data(), static_cast<std::size_t>(count));
      loop.take(thread, std::ssize(parts), [&](Index number) {
        const Range range = plan_.set_gradient(parts[static_cast<std::size_t>(number)], samples, batch,
                                               factor_of(batch, batches), gradients_[0]);
        if (optimizer != nullptr) update(*optimizer, batches, step, range.first, range.end - range.first, nullptr);
      });
      meet([&] {
        if (optimizer != nullptr) finish_update(*optimizer, batches, step);
      });
    }
  });
}

template <class T>
void Trainer<T>::meet_forward(std::size_t segment, const ShardedBatch& batch, Ranks* ranks) {
  if (ranks != nullptr) gather_statistics(*ranks, plan_.head(segment), parameters_, batch);
  plan_.meet_forward(segment, met(batch));
}

template <class T>
void Trainer<T>::meet_backward(std::size_t segment, const ShardedBatch& batch, Ranks* ranks) {
  if (ranks != nullptr) gather_gradients(*ranks, plan_.head(segment), gradients_, batch.shards, plan_.packed_size());
  plan_.meet_backward(segment, met(batch));
}

template <class T>
void Trainer<T>::go_forward(Workspaces<T> block, const Run& run, Index first, std::size_t segment, T* gradient) const {
  if (segment == 0) load_samples(block, run, first);
  plan_.forward(block, segment);
  if (segment + 1 < plan_.segments()) return;
  take_losses(block, run, first);
  if (run.batches.loss.has_gradient()) go_back(block, run, first, segment, gradient);
}

template <class T>
void Trainer<T>::go_back(Workspaces<T> block, const Run& run, Index first, std::size_t segment, T* gradient) const {
  plan_.backward(block, segment, gradient);
  if (segment > 0 || run.results.d_images == nullptr) return;
  const Index pixels = plan_.image().count();
  for (const auto& w : block) copy(run.results.d_images + pixels * first++, w->d_image(), pixels);
}

// The workspaces in which a thread computes `count` samples of a batch, from number `in_batch` on.
template <class T>
Workspaces<T> Trainer<T>::block(int thread, Index in_batch, Index count) const noexcept {
  const Index own = Index{thread} * plan_.samples_at_once();
  if (!keeps_samples()) return {&workspaces_[static_cast<std::size_t>(own)], static_cast<std::size_t>(count)};
  const Workspaces<T> samples(&workspaces_[static_cast<std::size_t>(in_batch)], static_cast<std::size_t>(count));
  for (Index k = 0; k < count; ++k) {
    const auto at = static_cast<std::size_t>(k);
    samples[at]->sample.in_batch = in_batch + k;
    samples[at]->use(*scratches_[static_cast<std::size_t>(thread)], static_cast<int>(k));
    samples[at]->use_desk(desks_[static_cast<std::size_t>(thread)].get());
  }
  return samples;
}

template <class T>
MetBatch<T> Trainer<T>::met(const ShardedBatch& batch) {
  return {batch, gradients_, parameters_};
}

// Returns a shard's gradient for a backward pass to add to. It is 0 already if the step before has used it up.
template <class T>
T* Trainer<T>::cleared_gradient(Index shard) noexcept {
  if (!are_clear_[shard]) std::fill_n(gradients_[shard], plan_.packed_size(), T{0});
  are_clear_[shard] = false;
  return gradients_[shard];
}

// Loads some samples of a window, from number `first` on.
template <class T>
void Trainer<T>::load_samples(Workspaces<T> block, const Run& run, Index first) const {
  const Batches<T>& b = run.batches;
  Index sample = first;
  for (const auto& w : block) {
    w->sample.training = true;
    w->sample.key = random_key(b.seed, static_cast<std::uint64_t>(b.samples_before + sample));
    load(*w, run.images, b.order[sample], b.maps != nullptr ? b.maps + 6 * sample : nullptr, b.background,
         plan_.image());
    if (++sample < b.samples) prefetch(run.images, b.order[sample], plan_.image());
  }
}

// The losses of these samples after the forward pass, and the losses' gradients.
template <class T>
void Trainer<T>::take_losses(Workspaces<T> block, const Run& run, Index first) const {
  const Loss<T>& loss = run.batches.loss;
  Index sample = first;
  for (const auto& w : block) {
    LossPass<T> pass = w->loss_pass(plan_.output_function(), loss.has_gradient());
    if (run.results.outputs != nullptr) pass.outputs = run.results.outputs + sample * plan_.nodes();
    const Outcome outcome = loss(pass, sample);
    if (run.results.losses != nullptr) run.results.losses[sample] = outcome.loss;
    if (run.results.correct != nullptr) run.results.correct[sample] = outcome.correct;
    ++sample;
  }
}

// Adds the shards as a balanced binary tree, of which ranks can each compute a subtree and agree to the bit: `count`
// packed numbers from `at` on. All shards but the first become 0. Ranks do it later.
template <class T>
void Trainer<T>::add_shards(const ShardedBatch& batch, const Batches<T>& batches, Index at, Index count) const {
  if (batches.ranks != nullptr || batch.samples == 1) return;
  std::array<T*, most_shards> from{};
  for (Index shard = 0; shard < batch.shards; ++shard) from[static_cast<std::size_t>(shard)] = gradients_[shard] + at;
  active_target().kernels<T>().add_as_tree(from.data(), static_cast<int>(batch.shards), factor_of(batch, batches),
                                           count);
}

template <class T>
void Trainer<T>::complete_gradient(const ShardedBatch& batch, const Batches<T>& batches) {
  if (batches.ranks != nullptr)
    add_over_ranks(*batches.ranks, gradients_, batch.shards, factor_of(batch, batches), plan_.packed_size());
  std::fill(are_clear_ + 1, are_clear_ + batch.shards, batches.ranks == nullptr);
  for (const auto& p : plan_.parameters()) p->complete_gradient(gradients_[0] + p->offset);
}

// The optimizer's step for `count` packed numbers from `at` on, as far as they are trained. It sets their gradient to
// 0. `others` are as many packed numbers that another thread has just updated, or null.
template <class T>
void Trainer<T>::update(const Optimizer<T>& optimizer, const Batches<T>& batches, Index step, Index at, Index count,
                        const T* others) {
  const auto from = [](auto* values, Index i) { return values != nullptr ? values + i : nullptr; };
  plan_.for_trained([&](Index first, Index trained) {
    const Index begin = std::max(at, first), end = std::min(at + count, first + trained);
    if (begin >= end) return;
    apply_formula(optimizer, parameters_.values.get() + begin, from(first_state_.get(), begin),
                  from(second_state_.get(), begin), gradients_[0] + begin, static_cast<T>(batches.learn_rates[step]),
                  steps_of(optimizer) + step + 1, end - begin, from(others, begin - at));
  });
}

template <class T>
void Trainer<T>::finish_update(const Optimizer<T>& optimizer, const Batches<T>& batches, Index step) {
  are_clear_[0] = true;
  plan_.derive(parameters_);  // the average is linear in packed weights only when their row D is 0
  if (optimizer.average == nullptr) return;
  const T share = static_cast<T>(batches.average_shares[step]);
  active_target().kernels<T>().average_update(average_.get(), parameters_.values.get(), share, plan_.packed_size());
  T* buffers = optimizer.average + plan_.parameter_count();  // nobody packs them
  for (const auto& p : plan_.parameters()) {
    p->average_buffers(buffers, parameters_.derived_of(*p), share);
    buffers += p->buffers_size();
  }
}

template <class T>
void apply(std::span<const Trained<T>> parts, const T* gradient, const Optimizer<T>& optimizer, double learn_rate) {
  const SubnormalsAreZero mode;
  constexpr Index piece = 1 << 10;
  alignas(64) T copied[piece];  // the formulas set a gradient to 0, and this one is the caller's
  for (const auto& [values, first, count] : parts)
    for (Index done = 0; done < count; done += piece) {
      const Index at = first + done, numbers = std::min(piece, count - done);
      const auto state = [&](T* flat) { return flat != nullptr ? flat + at : nullptr; };
      copy(copied, gradient + at, numbers);
      apply_formula(optimizer, values + done, state(optimizer.first_state), state(optimizer.second_state), copied,
                    static_cast<T>(learn_rate), steps_of(optimizer) + 1, numbers);
    }
  if (optimizer.steps != nullptr) ++*optimizer.steps;
}

template <class T>
void apply(const Plan<T>& plan, const T* gradient, const Optimizer<T>& optimizer, double learn_rate) {
  std::vector<Trained<T>> parts;
  for (const auto& p : plan.parameters()) {
    if (p->frozen) continue;
    parts.push_back({p->arrays.weights, p->flat_offset, p->weights_size});
    if (p->arrays.biases != nullptr)
      parts.push_back({p->arrays.biases, p->flat_offset + p->weights_size, p->biases_size});
  }
  apply(std::span<const Trained<T>>(parts), gradient, optimizer, learn_rate);
}

template class Trainer<float>;
template class Trainer<double>;
template Index shards_of(const Plan<float>&, Index) noexcept;
template Index shards_of(const Plan<double>&, Index) noexcept;
template void apply(std::span<const Trained<float>>, const float*, const Optimizer<float>&, double);
template void apply(std::span<const Trained<double>>, const double*, const Optimizer<double>&, double);
template void apply(const Plan<float>&, const float*, const Optimizer<float>&, double);
template void apply(const Plan<double>&, const double*, const Optimizer<double>&, double);

}  // namespace cnnx
