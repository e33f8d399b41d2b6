// From layers to stages. Each layer is lowered to a plain stage, and then fusion rules replace neighbouring stages by
// one. The article's network, for example:
//
//   layers         Conv3x3         MaxPool2         Softmax
//   plain stages   Conv3x3Stage    MaxPool2Stage    DenseStage    and the loss
//   fused          ConvPoolDenseStage                             and the loss
//
// Then the stages are cut into segments. A stage that needs statistics of the whole batch begins one. In training, all
// samples of a batch go through a segment before one of them enters the next. A plan without such a stage has one
// segment: each sample goes through all of it, forward and back, before the next one starts.
#pragma once

#include "layers.hpp"
#include "stages/batch_stage.hpp"
#include "stages/loss.hpp"
#include "stages/stage.hpp"

namespace cnnx {

// The most samples that any stage takes at once.
inline constexpr std::size_t most_at_once = dense_block;

template <class T>
struct Workspace;
template <class T>
using Workspaces = std::span<const std::unique_ptr<Workspace<T>>>;

template <class T>
class Plan {
 public:
  // Throws std::invalid_argument if the layers do not fit together. Without `fuse`, each layer is a stage of its own,
  // and the plan is right for every input. A fused plan requires small pixels and filters if needs_small() is true.
  // With `fold`, a batch normalisation is computed by the convolution before it, and the plan can only predict.
  Plan(const std::vector<Layer<T>>& layers, const Shape& image, bool fuse, bool fold = false);

  const Shape& image() const noexcept { return image_; }
  const Stages<T>& stages() const noexcept { return stages_; }
  const OutputFunction<T>& output_function() const noexcept { return output_function_; }
  int nodes() const noexcept { return output_function_.nodes; }
  bool needs_small() const noexcept { return needs_small_; }
  bool filters_are_small() const;

  // The parameters of all layers, each once. They know where they begin in PackedValues.
  const std::vector<std::shared_ptr<Packed<T>>>& parameters() const noexcept { return parameters_; }
  Index parameter_count() const noexcept { return parameter_count_; }
  // Calls body(offset, count) for each run of packed numbers that training updates. Without frozen layers that is one.
  template <class Body>
  void for_trained(const Body& body) const {
    for (std::size_t i = 0; i < parameters_.size();) {
      const Index first = parameters_[i]->offset;
      if (parameters_[i++]->frozen) continue;
      while (i < parameters_.size() && !parameters_[i]->frozen) ++i;
      body(first, (i < parameters_.size() ? parameters_[i]->offset : packed_size_) - first);
    }
  }
  // The first stage that training changes. Backward passes end there, unless the image's gradient is wanted.
  std::size_t first_trained() const noexcept { return first_trained_; }
  // How many numbers the buffers of all layers have.
  Index buffer_count() const noexcept { return buffer_count_; }
  bool has_ties() const noexcept { return has_ties_; }  // whether a layer with parameters is used more than once
  Index packed_size() const noexcept { return packed_size_; }
  Index work() const noexcept { return work_; }
  Index desk_size() const noexcept { return desk_size_; }

  PackedValues<T> new_values() const { return {new_buffer<T>(packed_size_), new_buffer<T>(derived_size_), {}}; }
  // Packs all parameters from the caller's arrays, and derives what follows from them.
  void pack(PackedValues<T>& values) const;
  void derive(PackedValues<T>& values) const;
  // Reads the caller's buffers, which have the same bits here as there.
  void read_buffers(PackedValues<T>& values) const;
  // How many samples go through the plan at once.
  int samples_at_once() const noexcept { return samples_at_once_; }
  // The forward pass for that many samples or fewer, outside training.
  void forward(Workspaces<T> samples) const { forward(samples, 0, stages_.size()); }

  // Training. All samples go forward through segment 0, and then through the next ones. They go back through the last
  // segment, and then through those before it. Between two segments, either way, all threads meet, and one of them
  // calls meet_forward or meet_backward with the number of the later segment. `backward` adds to `gradient`, which is
  // laid out like packed parameters.
  std::size_t segments() const noexcept { return heads_.size() + 1; }
  // The first stage of a segment other than the first.
  const BatchStage<T>& head(std::size_t segment) const { return *heads_[segment - 1].stage; }
  void forward(Workspaces<T> samples, std::size_t segment) const;
  void backward(Workspaces<T> samples, std::size_t segment, T* gradient) const;
  void meet_forward(std::size_t segment, const MetBatch<T>& batch) const { head(segment).meet_forward(batch); }
  void meet_backward(std::size_t segment, const MetBatch<T>& batch) const { head(segment).meet_backward(batch); }
  // If all layers with parameters are dense, the gradient of a batch can be computed part by part
  // (Stage::gradient_parts), and these are the parts.
  struct GradientPart {
    std::size_t stage;
    int number;
  };
  const std::vector<GradientPart>& gradient_parts() const noexcept { return gradient_parts_; }
  Range set_gradient(const GradientPart& part, Workspaces<T> samples, const ShardedBatch& batch, T factor,
                     T* gradient) const;
  // How many numbers a sample has at all boundaries between stages.
  Index activations() const noexcept { return activations_; }
  // How many samples a batch needs at least, so that each channel of a batch has more than one value.
  Index least_batch() const noexcept;
  // Makes the memory for the statistics of batches of `samples`.
  void make_statistics(PackedValues<T>& values, Index samples) const;
  // Whether a sample keeps the gradient at the boundary before stage `at` while threads meet, or until its batch's
  // gradient is computed.
  bool keeps_gradient(std::size_t at) const noexcept;
  // Whether samples that go at once have gradients of their own at the boundary before stage `at`. The image's gradient
  // is read after the last of them.
  bool separates_gradients(std::size_t at) const noexcept { return at == 0 || at >= first_at_once_; }

  void write_buffers(const PackedValues<T>& values) const;
  // Writes the parameters and the buffers of layers that are not frozen to the caller's arrays.
  void unpack(const PackedValues<T>& values) const;

 private:
  void cut_into_segments();
  void choose_samples_at_once();
  void choose_gradient_parts();
  std::size_t begin_of(std::size_t segment) const noexcept { return segment == 0 ? 0 : heads_[segment - 1].at; }
  std::size_t end_of(std::size_t segment) const noexcept {
    return segment < heads_.size() ? heads_[segment].at : stages_.size();
  }
  void forward(Workspaces<T> samples, std::size_t first, std::size_t last) const;
  void backward(Workspaces<T> samples, std::size_t first, std::size_t last, T* gradient) const;

  struct Head {
    std::size_t at;
    const BatchStage<T>* stage;
  };

  Shape image_;
  Stages<T> stages_;
  std::vector<Head> heads_;
  std::vector<GradientPart> gradient_parts_;
  OutputFunction<T> output_function_;
  std::vector<std::shared_ptr<Packed<T>>> parameters_;
  int samples_at_once_ = 1;
  std::size_t first_at_once_ = 0;  // the first stage that takes them at once; earlier ones take one after the other
  Index parameter_count_ = 0, buffer_count_ = 0, packed_size_ = 0, derived_size_ = 0, statistics_size_ = 0, work_ = 0;
  Index desk_size_ = 0, activations_ = 0;
  std::size_t first_trained_ = 0;
  bool has_ties_ = false, needs_small_ = false;
};

// What a thread needs of memory to take samples through the backward pass. All samples that go at once share the memory
// before the first stage that takes them at once, so that it stays in the cache.
template <class T>
struct Scratch {
  explicit Scratch(const Plan<T>& plan);

  // The gradient at a boundary between stages, for one of the samples that go at once.
  T* gradient(std::size_t at, int sample) const noexcept { return gradients[at].get() + sample * strides[at]; }

  std::vector<Buffer<T>> gradients;             // one for each boundary
  std::vector<Index> strides;                   // 0 where all samples share the memory
  std::vector<std::unique_ptr<Memory>> stages;  // one for each stage
};

// The memory of one sample on its way through the plan. To train it also needs a Scratch.
template <class T>
struct Workspace {
  // With `wants_d_image`, a backward pass also computes the gradient of the image. The plan must not be fused: a fused
  // first stage never computes it.
  Workspace(const Plan<T>& plan, PackedValues<T>& parameters, bool wants_d_image = false);

  // Computes its next passes in `scratch`, until it is given another one. `number` counts the samples that go at once.
  void use(const Scratch<T>& scratch, int number) noexcept;
  // The same for a desk, which all workspaces of a thread share.
  void use_desk(T* desk) noexcept {
    for (auto& pass : passes) pass.desk = desk;
  }
  // What the loss reads and writes. Without `backward`, it computes no gradient.
  LossPass<T> loss_pass(const OutputFunction<T>& function, bool backward) const noexcept {
    return {function, values.back().get(), outputs.get(), d_outputs.get(), backward ? passes.back().d_output : nullptr};
  }
  const T* d_image() const noexcept { return passes.front().d_input; }

  Sample sample;
  std::size_t goes_back_to;          // the last stage of a backward pass
  bool aligns_images;                // whether the first stage reads a training image in registers, several times
  std::vector<Buffer<T>> values;     // one for each boundary between stages
  std::vector<Buffer<T>> gradients;  // the same; null for those that are only in a Scratch
  std::vector<std::unique_ptr<Memory>> memory;
  std::vector<Pass<T>> passes;  // one for each stage
  Buffer<T> outputs, d_outputs;
  Buffer<T> source;                   // a sample before it is resampled
  std::vector<std::uint8_t> shifted;  // a sample's bytes, shifted by whole pixels
};

extern template class Plan<float>;
extern template class Plan<double>;
extern template struct Scratch<float>;
extern template struct Scratch<double>;
extern template struct Workspace<float>;
extern template struct Workspace<double>;

}  // namespace cnnx
