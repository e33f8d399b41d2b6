#include "plan.hpp"

#include <algorithm>
#include <array>

#include "fused/batch_norm.hpp"
#include "fused/conv_batch_norm.hpp"
#include "fused/conv_pool.hpp"
#include "fused/conv_pool_batch_norm.hpp"
#include "fused/conv_pool_dense.hpp"
#include "fused/conv_relu.hpp"
#include "fused/conv_relu_pool.hpp"
#include "stages/batch_norm.hpp"
#include "stages/conv3x3.hpp"
#include "stages/dense.hpp"
#include "stages/dropout.hpp"
#include "stages/global_average_pool.hpp"
#include "stages/max_pool2.hpp"
#include "stages/relu.hpp"

namespace cnnx {
namespace {

// One plain stage for each layer.
template <class T>
class Lowering {
 public:
  Lowering(const std::vector<Layer<T>>& layers, const Shape& image, bool fold)
      : layers_(layers), shape_(image), fold_(fold) {
    if (static_cast<double>(image.height) * image.width * image.channels > most_values)
      throw std::invalid_argument("images: expected at most 134217727 values each, got shape " + image.text());
  }

  // Python has already checked what is checked here. These checks keep memory safe.
  Stages<T> lower() {
    for (; position_ < layers_.size(); ++position_) {
      if (is_softmax_) refuse("expected nothing after Softmax");
      std::visit(
          [&](const auto& layer) {
            const Shape in = shape_;
            try {
              shape_ = layer.output_shape(in);
            } catch (const std::invalid_argument& error) {
              refuse(error.what());
            }
            if (shape_.count() <= 0 || shape_.count() > most_values)
              refuse("expected an output of 1 to 134217727 values");
            if (auto made = stage(layer, in); made != nullptr) stages_.push_back(std::move(made));
          },
          layers_[position_]);
    }
    if (layers_.empty() || shape_.rank != 1) refuse("expected an output of shape (nodes,) at the end");
    return std::move(stages_);
  }
  // After all layers were lowered.
  OutputFunction<T> output_function() const { return {shape_.channels, is_softmax_}; }
  bool has_ties() const { return has_ties_; }
  Index parameter_count() const { return flat_offset_; }

 private:
  static constexpr Index most_values = 0x7fffffff / 16;  // kernels count in ints

  [[noreturn]] void refuse(const std::string& what) const {
    throw std::invalid_argument("layers[" + std::to_string(position_) + "]: " + what);
  }

  std::unique_ptr<Stage<T>> stage(const Conv3x3Layer<T>& conv, const Shape& in) {
    auto packed = parameters<PackedConv<T>>(conv, PackedConv<T>::Layout::by_filter);
    if (const auto* const norm = folded_at(position_ + 1)) packed->fold(*norm);
    return std::make_unique<Conv3x3Stage<T>>(std::move(packed), in);
  }
  // Null if the convolution before it computes it.
  std::unique_ptr<Stage<T>> stage(const BatchNormLayer<T>& norm, const Shape& in) {
    if (folded_at(position_) != nullptr) return nullptr;
    for (std::size_t before = 0; before < position_; ++before)
      if (layers_[before] == layers_[position_])
        refuse("expected a BatchNorm at one position, because its running statistics are of one place, got it twice");
    auto packed = parameters<PackedBatchNorm<T>>(norm);
    if (norm.frozen)
      return std::make_unique<FrozenBatchNormStage<T>>(std::move(packed),
                                                       BatchNormShape{in.height, in.width, in.channels});
    return std::make_unique<BatchNormStage<T>>(std::move(packed), BatchNormShape{in.height, in.width, in.channels});
  }
  std::unique_ptr<Stage<T>> stage(const MaxPool2Layer& pool, const Shape& in) {
    return std::make_unique<MaxPool2Stage<T>>(pool, in);
  }
  std::unique_ptr<Stage<T>> stage(const GlobalAveragePoolLayer&, const Shape& in) {
    return std::make_unique<GlobalAveragePoolStage<T>>(in);
  }
  std::unique_ptr<Stage<T>> stage(const ReLULayer&, const Shape& in) { return std::make_unique<ReLUStage<T>>(in); }
  std::unique_ptr<Stage<T>> stage(const DropoutLayer& dropout, const Shape& in) {
    return std::make_unique<DropoutStage<T>>(dropout, in, position_);
  }
  std::unique_ptr<Stage<T>> stage(const DenseLayer<T>& dense, const Shape&) {
    auto packed = parameters<PackedDense<T>>(dense, DenseShape{1, dense.inputs, dense.nodes});
    return std::make_unique<DenseStage<T>>(std::move(packed));
  }
  std::unique_ptr<Stage<T>> stage(const SoftmaxLayer<T>& softmax, const Shape& in) {
    is_softmax_ = true;
    return stage(softmax.dense, in);
  }

  // The packed parameters of a layer. A layer that is used twice has them once.
  template <class Kind, class L, class... Layout>
  std::shared_ptr<Kind> parameters(const L& layer, const Layout&... layout) {
    auto packed = std::make_shared<Kind>(layer, layout..., flat_offset_);
    for (const auto& known : known_) {
      auto same = std::dynamic_pointer_cast<Kind>(known);
      if (same != nullptr && same->layer() == layer) {
        ++same->readers;
        has_ties_ = true;
        return same;
      }
      if (packed->overlaps(*known)) refuse("expected arrays that share no memory with another layer");
    }
    packed->readers = 1;
    flat_offset_ += packed->count();
    if (flat_offset_ > 0x7fffffff) refuse("expected at most 2147483647 parameters in all");
    known_.push_back(packed);
    return packed;
  }

  // The BatchNorm at a position if it is folded into the convolution before it, or null. A convolution that is used
  // twice has the same filters at both positions, so nothing is folded into it.
  const BatchNormLayer<T>* folded_at(std::size_t position) const {
    if (!fold_ || position == 0 || position >= layers_.size()) return nullptr;
    const Layer<T>& conv = layers_[position - 1];
    if (!std::holds_alternative<Conv3x3Layer<T>>(conv) || std::count(layers_.begin(), layers_.end(), conv) > 1)
      return nullptr;
    return std::get_if<BatchNormLayer<T>>(&layers_[position]);
  }

  const std::vector<Layer<T>>& layers_;
  Shape shape_;
  bool fold_;
  std::size_t position_ = 0;
  bool is_softmax_ = false, has_ties_ = false;
  Index flat_offset_ = 0;
  std::vector<std::shared_ptr<Packed<T>>> known_;
  Stages<T> stages_;
};

// Rules are tried in this order, and each sees the stages that earlier ones have built.
template <class T>
constexpr Fusion<T> (*rules[])(const Stages<T>&, std::size_t at) = {
    fuse_batch_norm<T>,      fuse_conv_pool_batch_norm<T>, fuse_conv_batch_norm<T>, fuse_conv_pool<T>,
    fuse_conv_pool_dense<T>, fuse_conv_relu_pool<T>,       fuse_conv_relu<T>,
};

template <class T>
void fuse(Stages<T>& stages) {
  for (const auto& rule : rules<T>)
    for (std::size_t at = 0; at < stages.size(); ++at)
      if (auto fusion = rule(stages, at); fusion.stage != nullptr) {
        const auto first = stages.begin() + static_cast<std::ptrdiff_t>(at);
        *first = std::move(fusion.stage);
        stages.erase(first + 1, first + static_cast<std::ptrdiff_t>(fusion.swallowed));
      }
}

}  // namespace

template <class T>
Plan<T>::Plan(const std::vector<Layer<T>>& layers, const Shape& image, bool fuse, bool fold)
    : image_(image), activations_(image.count()) {
  Lowering<T> lowering(layers, image, fold);
  stages_ = lowering.lower();
  if (fuse) cnnx::fuse(stages_);
  output_function_ = lowering.output_function();
  has_ties_ = lowering.has_ties();
  parameter_count_ = lowering.parameter_count();
  for (const auto& stage : stages_) {
    work_ += stage->work();
    activations_ += stage->outputs();
    desk_size_ = std::max(desk_size_, stage->desk_size());
    needs_small_ = needs_small_ || stage->needs_small();
    for (const auto& packed : stage->parameters()) {
      if (std::find(parameters_.begin(), parameters_.end(), packed) != parameters_.end()) continue;
      parameters_.push_back(packed);
      packed->offset = packed_size_;
      packed->derived_offset = derived_size_;
      packed_size_ += whole_lines<T>(packed->size());
      derived_size_ += whole_lines<T>(packed->derived_size());
      buffer_count_ += packed->buffers_size();
    }
  }
  const auto is_trained = [](const auto& stage) { return !stage->parameters().empty() && !stage->is_frozen(); };
  first_trained_ = static_cast<std::size_t>(std::find_if(stages_.begin(), stages_.end(), is_trained) - stages_.begin());
  cut_into_segments();
  choose_samples_at_once();
  if constexpr (has_gradient_parts) choose_gradient_parts();
}

template <class T>
void Plan<T>::cut_into_segments() {
  for (std::size_t at = 0; at < stages_.size(); ++at)
    if (auto* const stage = dynamic_cast<BatchStage<T>*>(stages_[at].get())) {
      heads_.push_back({at, stage});
      stage->put_statistics(statistics_size_);
      statistics_size_ += whole_lines<T>(stage->statistics_size());
    }
}

// If only a small share of a segment's work is faster for several samples at once, samples go one by one: the
// activations of several would take up the cache that the other stages need.
template <class T>
void Plan<T>::choose_samples_at_once() {
  constexpr Index least_share = 32;
  first_at_once_ = stages_.size();
  for (std::size_t segment = 0; segment < segments() && samples_at_once_ == 1; ++segment) {
    const std::span all(stages_.begin() + begin_of(segment), stages_.begin() + end_of(segment));
    Index gaining = 0, work = 0;
    int at_once = 1;
    for (const auto& stage : all) {
      work += stage->work();
      if (stage->samples_at_once() > 1) gaining += stage->work();
      at_once = std::max(at_once, stage->samples_at_once());
    }
    if (at_once == 1 || gaining * least_share < work) continue;
    samples_at_once_ = at_once;
    for (first_at_once_ = begin_of(segment); stages_[first_at_once_]->samples_at_once() == 1;) ++first_at_once_;
  }
}

template <class T>
void Plan<T>::choose_gradient_parts() {
  const auto adds = [](const auto& stage) { return !stage->parameters().empty() && stage->gradient_parts() == 0; };
  if (segments() > 1 || has_ties_ || std::any_of(stages_.begin(), stages_.end(), adds)) return;
  for (std::size_t at = 0; at < stages_.size(); ++at) {
    const int parts = stages_[at]->is_frozen() ? 0 : stages_[at]->gradient_parts();
    for (int number = 0; number < parts; ++number) gradient_parts_.push_back({at, number});
  }
}

template <class T>
Range Plan<T>::set_gradient(const GradientPart& part, Workspaces<T> samples, const ShardedBatch& batch, T factor,
                            T* gradient) const {
  std::array<const Pass<T>*, dense_batch> passes;
  for (std::size_t k = 0; k < samples.size(); ++k) passes[k] = &samples[k]->passes[part.stage];
  return stages_[part.stage]->set_gradient(part.number, Passes<T>(passes.data(), samples.size()), batch, factor,
                                           gradient);
}

template <class T>
bool Plan<T>::filters_are_small() const {
  return std::all_of(stages_.begin(), stages_.end(), [](const auto& stage) {
    const auto& all = stage->parameters();
    return !stage->needs_small() || std::all_of(all.begin(), all.end(), [](const auto& p) { return p->is_small(); });
  });
}

template <class T>
void Plan<T>::pack(PackedValues<T>& values) const {
  read_buffers(values);
  for (const auto& p : parameters_) {
    if (!values.are_packed && p->may_stay_unpacked()) continue;
    p->pack(values.of(*p), p->arrays);
    values.derive(*p);
  }
}

template <class T>
void Plan<T>::read_buffers(PackedValues<T>& values) const {
  for (const auto& p : parameters_) p->read_buffers(values.derived_of(*p));
}

template <class T>
void Plan<T>::derive(PackedValues<T>& values) const {
  for (const auto& p : parameters_) values.derive(*p);
}

template <class T>
void Plan<T>::write_buffers(const PackedValues<T>& values) const {
  for (const auto& p : parameters_)
    if (!p->frozen) p->write_buffers(values.derived_of(*p));
}

template <class T>
void Plan<T>::unpack(const PackedValues<T>& values) const {
  for (const auto& p : parameters_)
    if (!p->frozen) p->unpack(p->arrays, values.of(*p));
  write_buffers(values);
}

template <class T>
void Plan<T>::make_statistics(PackedValues<T>& values, Index samples) const {
  if (heads_.empty() || samples <= values.statistics_rows) return;
  values.statistics = new_buffer<T>(samples * statistics_size_);
  values.statistics_stride = statistics_size_;
  values.statistics_rows = samples;
}

template <class T>
Index Plan<T>::least_batch() const noexcept {
  const auto has_one = [](const Head& head) { return head.stage->values_of_a_channel() == 1; };
  return std::any_of(heads_.begin(), heads_.end(), has_one) ? 2 : 1;
}

template <class T>
bool Plan<T>::keeps_gradient(std::size_t at) const noexcept {
  if (has_gradient_parts && !gradient_parts_.empty() && at > 0 && stages_[at - 1]->gradient_parts() > 0) return true;
  return std::any_of(heads_.begin(), heads_.end(), [&](const Head& head) { return head.at + 1 == at; });
}

template <class T>
void Plan<T>::forward(Workspaces<T> samples, std::size_t segment) const {
  forward(samples, begin_of(segment), end_of(segment));
  if (segment == heads_.size()) return;
  for (const auto& sample : samples) head(segment + 1).look_at_input(sample->passes[end_of(segment)]);
}

template <class T>
void Plan<T>::backward(Workspaces<T> samples, std::size_t segment, T* gradient) const {
  // The head of a segment goes back with the segment before it, after threads have met.
  const std::size_t first = segment == 0 ? 0 : begin_of(segment) + 1;
  const std::size_t last = segment == heads_.size() ? stages_.size() : end_of(segment) + 1;
  backward(samples, first, last, gradient);
  if (segment == 0) return;
  for (const auto& sample : samples) head(segment).look_at_gradient(sample->passes[begin_of(segment)], gradient);
}

template <class T>
void Plan<T>::forward(Workspaces<T> samples, std::size_t first, std::size_t last) const {
  const std::size_t first_at_once = std::clamp(first_at_once_, first, last);
  for (const auto& sample : samples)
    for (std::size_t i = first; i < first_at_once; ++i) stages_[i]->forward(sample->passes[i]);
  for (std::size_t i = first_at_once; i < last; ++i) {
    std::array<const Pass<T>*, most_at_once> passes;
    for (std::size_t k = 0; k < samples.size(); ++k) passes[k] = &samples[k]->passes[i];
    stages_[i]->forward_block(Passes<T>(passes.data(), samples.size()));
  }
}

template <class T>
void Plan<T>::backward(Workspaces<T> samples, std::size_t first, std::size_t last, T* gradient) const {
  first = std::min(std::max(first, samples.front()->goes_back_to), last);
  const std::size_t first_at_once = std::clamp(first_at_once_, first, last);
  for (std::size_t i = last; i-- > first_at_once;) {
    std::array<const Pass<T>*, most_at_once> passes;
    for (std::size_t k = 0; k < samples.size(); ++k) passes[k] = &samples[k]->passes[i];
    stages_[i]->backward_block(Passes<T>(passes.data(), samples.size()), gradient);
  }
  for (const auto& sample : samples)
    for (std::size_t i = first_at_once; i-- > first;) stages_[i]->backward(sample->passes[i], gradient);
}

template <class T>
Scratch<T>::Scratch(const Plan<T>& plan) {
  Index count = plan.image().count();
  for (std::size_t at = 0;; ++at) {
    const Index size = plan.keeps_gradient(at) ? 0 : whole_lines<T>(count);
    const bool separate = plan.separates_gradients(at);
    gradients.push_back(new_buffer<T>(separate ? size * plan.samples_at_once() : size));
    strides.push_back(separate ? size : 0);
    if (at == plan.stages().size()) return;
    count = plan.stages()[at]->outputs();
    stages.push_back(plan.stages()[at]->new_scratch());
  }
}

// A first dense layer of so few nodes takes less time than a copy of its image would save.
constexpr Index few_readers = 10;

template <class T>
Workspace<T>::Workspace(const Plan<T>& plan, PackedValues<T>& parameters, bool wants_d_image)
    : goes_back_to(wants_d_image ? 0 : plan.first_trained()),
      aligns_images(plan.stages().front()->samples_at_once() > 1 && plan.stages().front()->outputs() > few_readers),
      outputs(new_buffer<T>(whole_lines<T>(plan.nodes()))),
      d_outputs(new_buffer<T>(whole_lines<T>(plan.nodes()))),
      source(new_buffer<T>(plan.image().count())),
      shifted(static_cast<std::size_t>(plan.image().count())) {
  const auto add_boundary = [&](Index count) {
    const bool keeps_gradient = plan.keeps_gradient(values.size());
    gradients.push_back(keeps_gradient ? new_buffer<T>(whole_lines<T>(count)) : nullptr);
    values.push_back(new_buffer<T>(whole_lines<T>(count)));
  };
  add_boundary(plan.image().count());
  for (const auto& stage : plan.stages()) {
    add_boundary(stage->outputs());
    memory.push_back(stage->new_memory());
  }
  for (std::size_t i = 0; i < plan.stages().size(); ++i)
    passes.push_back({values[i].get(), values[i + 1].get(), nullptr, nullptr, i <= goes_back_to && !wants_d_image,
                      memory[i].get(), nullptr, &sample, &parameters});
}

template <class T>
void Workspace<T>::use(const Scratch<T>& scratch, int number) noexcept {
  const auto gradient = [&](std::size_t at) {
    return gradients[at] != nullptr ? gradients[at].get() : scratch.gradient(at, number);
  };
  for (std::size_t i = 0; i < passes.size(); ++i) {
    passes[i].d_input = gradient(i);
    passes[i].d_output = gradient(i + 1);
    passes[i].scratch = scratch.stages[i].get();
  }
}

template class Plan<float>;
template class Plan<double>;
template struct Scratch<float>;
template struct Scratch<double>;
template struct Workspace<float>;
template struct Workspace<double>;

}  // namespace cnnx
